"""Keras with torch below it: `model.fit` with the callback of the client.

KERAS_BACKEND=torch python keras_fit.py --epochs 5
"""

import argparse
import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np

from cbi_queue.client import training
from cbi_queue.client_adapters import keras_callback

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=5)
options = parser.parse_args()

inputs = np.random.default_rng(0).normal(size=(1000, 8)).astype("float32")
targets = np.sin(inputs.sum(1, keepdims=True))

if (path := training.resume_from()) is not None:
    model = keras.models.load_model(path)
else:
    model = keras.Sequential([keras.layers.Input((8,)), keras.layers.Dense(32, "tanh"), keras.layers.Dense(1)])
    model.compile("adam", "mse")

own = {"initial_epoch": training.resumed_epoch, "callbacks": [keras_callback()], "verbose": 2}
history = model.fit(inputs, targets, epochs=options.epochs, validation_split=0.2, **own)
for name, values in history.history.items():
    training.metric(name, values[-1])
model.save(training.output_dir / "model.keras")
