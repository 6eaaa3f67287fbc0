"""A tiny BERT with random weights, made on the spot: the real classes and files, and no forecast of anything."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

WORDS = [
    "soybean",
    "oil",
    "crush",
    "exports",
    "china",
    "demand",
    "drought",
    "rain",
    "brazil",
    "argentina",
    "record",
    "harvest",
    "tariff",
    "biodiesel",
    "palm",
    "rally",
    "slump",
    "rise",
    "fall",
    "cut",
    "raise",
    "stocks",
    "usda",
    "report",
    "record",
    "low",
    "high",
    "price",
    "futures",
    "mill",
    "strike",
    "port",
]
LABELS = ("positive", "negative", "neutral")


def headline(number: int, words: int = 6) -> str:
    """A headline of known words, another one for each *number*."""
    return (
        " ".join(WORDS[(number * 7 + at * at + number // 31 * at) % len(WORDS)] for at in range(words)) + f" {number}"
    )


def make_tiny_bert(
    folder: Path, labels: Sequence[str] = LABELS, *, seed: int = 0, hidden: int = 32, layers: int = 2, heads: int = 2
) -> Path:
    """Save a BERT for sequence classification with RANDOM weights, and its tokenizer, in *folder*."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    pieces = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *dict.fromkeys(WORDS),
        *"0123456789",
        *(f"##{d}" for d in range(10)),
    ]
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(pieces) + "\n", encoding="utf-8")
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(pieces),
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * hidden,
        initializer_range=0.3,  # the usual 0.02 scores every text nearly alike
        num_labels=len(labels),
        id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
    )
    net = BertForSequenceClassification(config)
    net.save_pretrained(folder)
    BertTokenizer(vocab={piece: at for at, piece in enumerate(pieces)}).save_pretrained(folder)
    return folder


if __name__ == "__main__":
    make_tiny_bert(Path(sys.argv[1]), seed=int(sys.argv[2]) if len(sys.argv) > 2 else 0)
