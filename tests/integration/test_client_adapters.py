"""The client's callbacks in real fits of the real libraries, each in a process of its own."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest

from cbi_queue.protocol import CheckpointSaved, EpochReport, Note, Restored
from jobs.script.client_channel import ClientChannel

pytestmark = pytest.mark.process

DATA = "import numpy as np; rng = np.random.default_rng(7); x = rng.normal(size=(64, 3)); y = x.sum(axis=1)\n"
AWAIT = "import time\nwhile not training.should_stop(): time.sleep(0.01)\n"  # a small fit may end before orders come
LIGHTGBM = """
import lightgbm
from cbi_queue.client_adapters import lightgbm_callback
path = training.resume_from()
data = lightgbm.Dataset(x, y)
kept = {"valid_sets": [data], "valid_names": ["training"], "callbacks": [lightgbm_callback()]}
settings = {"verbose": -1, "num_threads": 1, "min_data_in_leaf": 5}
lightgbm.train(settings, data, 6 - training.resumed_epoch, init_model=path, **kept)
"""
XGBOOST = """
import xgboost
from cbi_queue.client_adapters import xgboost_callback
path = training.resume_from()
data = xgboost.DMatrix(x, y)
kept = {"evals": [(data, "train")], "callbacks": [xgboost_callback(6)], "verbose_eval": False}
xgboost.train({"nthread": 1}, data, 6 - training.resumed_epoch, xgb_model=path and str(path), **kept)
"""
KERAS = """
import os; os.environ["KERAS_BACKEND"] = "torch"
import keras
from cbi_queue.client_adapters import keras_callback
path = training.resume_from()
model = keras.models.load_model(path) if path else keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
if path is None: model.compile(loss="mse")
model.fit(x, y, epochs=6, initial_epoch=training.resumed_epoch, verbose=0, callbacks=[keras_callback()])
"""
LIGHTNING = """
import torch, lightning, warnings; warnings.simplefilter("ignore")
from cbi_queue.client_adapters import lightning_callback
class Net(lightning.LightningModule):
    def __init__(self): super().__init__(); self.layer = torch.nn.Linear(3, 1)
    def training_step(self, batch, _):
        loss = (self.layer(batch[0])[:, 0] - batch[1]).square().mean(); self.log("train_loss", loss); return loss
    def configure_optimizers(self): return torch.optim.SGD(self.parameters(), 0.01)
loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.tensor(x).float(), torch.tensor(y).float()), 16)
quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
trainer = lightning.Trainer(max_epochs=6, accelerator="cpu", callbacks=[lightning_callback()], **quiet)
trainer.fit(Net(), loader, ckpt_path=training.resume_from())
"""
HUGGING_FACE = """
import torch, transformers, warnings; warnings.simplefilter("ignore")
from cbi_queue.client_adapters import transformers_callback
class Net(torch.nn.Module):
    def __init__(self): super().__init__(); self.layer = torch.nn.Linear(3, 1)
    def forward(self, x=None, labels=None): out = self.layer(x)[:, 0]; return {"loss": (out - labels).square().mean()}
rows = [{"x": torch.tensor(a).float(), "labels": torch.tensor(b).float()} for a, b in zip(x, y)]
options = transformers.TrainingArguments(output_dir=str(training.checkpoint_dir), num_train_epochs=6, use_cpu=True,
    per_device_train_batch_size=16, logging_steps=1, save_strategy="no", report_to=[], disable_tqdm=True)
trainer = transformers.Trainer(model=Net(), args=options, train_dataset=rows, callbacks=[transformers_callback()])
path = training.resume_from()
trainer.train(resume_from_checkpoint=path and str(path))
"""
NEEDS = {
    "lightgbm": LIGHTGBM,
    "xgboost": XGBOOST,
    "keras": KERAS,
    "lightning": LIGHTNING,
    "accelerate": HUGGING_FACE,
}


@pytest.mark.parametrize("library", NEEDS)
def test_a_callback_reports_stops_with_a_checkpoint_and_the_fit_goes_on_after_it(library, tmp_path_factory):
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    folder = tmp_path_factory.mktemp("a")
    reports: list[object] = []
    channel = ClientChannel(folder, reports.append)
    (folder / "checkpoints").mkdir()
    own = {"CBI_QUEUE_SOCKET": str(channel.path), "CBI_QUEUE_CHECKPOINTS": str(folder / "checkpoints")}
    environment = {**os.environ, **own, "OMP_NUM_THREADS": "1"}
    script = DATA + "from cbi_queue.client import training\n" + NEEDS[library] + "print('whole')\n"

    def run(code: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code]
        return subprocess.run(
            command, env=environment, cwd=folder, capture_output=True, text=True, timeout=200, check=False
        )

    try:
        channel.order(stop=True, checkpoint=True)
        first = run(script.replace("training\n", f"training\n{AWAIT}", 1))
        assert (first.returncode, "whole" in first.stdout) == (75, False), first.stderr
        channel.order(stop=False, checkpoint=False)
        second = run(script)
        assert (second.returncode, "whole" in second.stdout) == (0, True), second.stderr
    finally:
        channel.close()
    epochs = [report for report in reports if isinstance(report, EpochReport)]
    saved = [report.epoch for report in reports if isinstance(report, CheckpointSaved)]
    assert len(saved) == 1
    assert [report.epoch for report in reports if isinstance(report, Restored)] == saved
    assert [report.epoch for report in epochs] == [1, 2, 3, 4, 5, 6] or (library, saved) == ("accelerate", [0])
    assert epochs[-1].epoch == 6
    assert all(report.total_epochs == 6 and report.train_loss is not None for report in epochs)
    assert not [report for report in reports if isinstance(report, Note)]
