"""Hugging Face: a `Trainer` on a tiny BERT with random weights, made on the spot; nothing is downloaded.

python hugging_face_trainer.py --epochs 3
"""

import argparse

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

from cbi_queue.client import training
from cbi_queue.client_adapters import transformers_callback

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=3)
options = parser.parse_args()

torch.manual_seed(0)
tokens = torch.randint(1, 50, (160, 12))
labels = (tokens == 7).any(1).long()  # does the text contain word 7?
texts = [{"input_ids": row, "labels": label} for row, label in zip(tokens, labels, strict=True)]

shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
trainer = Trainer(
    BertForSequenceClassification(BertConfig(vocab_size=50, num_labels=2, **shape)),
    TrainingArguments(
        output_dir=str(training.checkpoint_dir),
        num_train_epochs=options.epochs,
        per_device_train_batch_size=16,
        logging_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=2,
        report_to="none",
        use_cpu=True,
    ),
    train_dataset=texts[:128],
    eval_dataset=texts[128:],
    callbacks=[transformers_callback()],
)
trainer.train(resume_from_checkpoint=training.resume_from())
training.metric("eval_loss", trainer.evaluate()["eval_loss"])
trainer.save_model(str(training.output_dir / "model"))
