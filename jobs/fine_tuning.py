"""`python -m jobs.fine_tuning`: headlines and the price changes after them out to CSV, and a judged model back.

Runs on the trainers' Python, started by `text export-training` and `text evaluate`. The days from `held_out_from` on
are never written out, nor the days before it whose price change would reach into them. A label says what the price did:
positive above the upper third of the changes after the training headlines, negative below the lower, else neutral.
"""

from __future__ import annotations

import csv
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cbi_queue.artifacts import atomic_file, sha256_of, write_json
from cbi_queue.datasets.headlines import HAND_OVER
from cbi_queue.errors import CbiError
from cbi_queue.models.kinds import HORIZON_DAYS
from cbi_queue.models.parameters.features import FeatureParams
from cbi_queue.regular_files import read_whole
from cbi_queue.text_model import NEGATIVE, POSITIVE, check_model
from jobs.data.export_file import read_all, read_columns
from jobs.data.feature_build import description_of
from jobs.data.feature_names import PRICE
from jobs.data.headlines import key_of, read_headlines
from jobs.data.news import closes, rows_of
from jobs.trainer import BrokenSpec

if TYPE_CHECKING:
    from cbi_queue.datasets.headlines import Headlines
    from cbi_queue.text_model import TextModel

NEUTRAL = "neutral"
LABELS = (POSITIVE, NEGATIVE, NEUTRAL)
HELD_OUT = 0.2
"""Share of the headlines, the latest ones."""
FEWEST = 30
"""Fewest headlines to train on, and to judge on."""
DRAWS, BATCH = 2000, 16
FEWEST_BLOCKS = 5
"""With fewer independent blocks of days there is no interval."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Headlines whose price change is known, one a text and day, by rising time."""

    text: tuple[str, ...]
    published: np.ndarray
    """(n,) int64, microseconds since 1970."""
    row: np.ndarray
    """(n,) int64, the trading day."""
    change: np.ndarray
    """(n,) float64, log p[row + h] - log p[row]."""
    days: np.ndarray
    """(rows,) datetime64[D]."""
    price: np.ndarray
    """(rows,) float64."""
    h: int


def outcomes(exports_dir: Path, export: Path, horizon: str) -> Outcomes:
    """Read headlines and prices, and say what the price did after each.

    Raises:
        BrokenSpec: when one of them cannot be read, or there are too few.
    """
    description = description_of(exports_dir)
    read = read_headlines(exports_dir, description.headlines)
    chosen: Headlines = description.headlines  # type: ignore[assignment] # read_headlines refuses None
    if not export.is_file():
        raise BrokenSpec(f"{export} is missing: there is no price to go with the headlines")
    columns = read_columns(export, FeatureParams(), description)
    if columns.faults:
        raise BrokenSpec(f"{export}: {columns.faults[0]}")
    since, exported = read_all(export, columns, [])
    price, h = exported[PRICE], HORIZON_DAYS[horizon]
    days, price = since[price > 0].astype("datetime64[D]"), price[price > 0]
    row = rows_of(read.published, closes(days.astype(np.int64), chosen))
    known = np.flatnonzero(row + h < len(days))
    known = known[
        days[row[known]] - read.published[known].astype("datetime64[us]").astype("datetime64[D]") <= np.timedelta64(7)
    ]
    numbers: dict[bytes, int] = {}
    text = np.array([numbers.setdefault(key_of(read.texts[at]), len(numbers)) for at in known], dtype=np.int64)
    if len(known):
        _, first = np.unique(np.stack([row[known], text]), axis=1, return_index=True)
        known = known[np.sort(first)]
    if len(known) < 2 * FEWEST:
        raise BrokenSpec(
            f"{len(known)} of {len(read.texts):,} headlines have a price {h} trading days later in {export.name}; "
            "at least "
            f"{2 * FEWEST} are needed: import more headlines, or choose a shorter horizon"
        )
    change = np.log(price[row[known] + h]) - np.log(price[row[known]])
    texts = tuple(read.texts[at] for at in known)
    return Outcomes(texts, read.published[known], row[known], change, days=days, price=price, h=h)


def export_training(request: dict[str, Any]) -> dict[str, Any]:
    """Write the training headlines, and the record by which the model is judged later."""
    found = outcomes(Path(request["exports_dir"]), Path(request["export"]), request["horizon"])
    held_from = int(found.row[int(len(found.row) * (1 - HELD_OUT))])
    train = np.flatnonzero(found.row + found.h < held_from)  # every price change ends before the first held-out day
    held = int((found.row >= held_from).sum())
    if len(train) < FEWEST or held < FEWEST:
        raise BrokenSpec(
            f"{len(train)} headlines to train on and {held} held out are too few for {request['horizon']}; at "
            f"least {FEWEST} of each "
            "are needed: import more headlines, or choose a shorter horizon"
        )
    lower, upper = (float(edge) for edge in np.quantile(found.change[train], [1 / 3, 2 / 3]))
    labels = labelled(found.change[train], lower, upper)
    out = Path(request["out"])
    with atomic_file(out) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["published_at", "trading_day", "text", "price", "price_after", "change", "label"])
        for at, label in zip(train, labels, strict=True):
            row = found.row[at]
            moment = f"{np.datetime64(int(found.published[at]), 'us').astype('datetime64[s]')}Z"
            prices = [float(found.price[row]), float(found.price[row + found.h])]
            writer.writerow(
                [moment, found.days[row], found.text[at], *prices, round(float(found.change[at]), 8), label]
            )
    record = {
        "horizon": request["horizon"],
        "held_out_from": str(found.days[held_from]),
        "training_to": str(found.days[found.row[train[-1]]]),
        "lower": lower,
        "upper": upper,
        "labels": {label: labels.count(label) for label in LABELS},
        "training_rows": len(train),
        "held_out_rows": held,
        "csv_sha256": sha256_of(out, follow=True),
    }
    write_json(Path(request["processed_dir"]) / HAND_OVER, record)
    return record | {"path": str(out)}


def labelled(change: np.ndarray, lower: float, upper: float) -> list[str]:
    """Return the label of each price change."""
    return [POSITIVE if one > upper else NEGATIVE if one < lower else NEUTRAL for one in change]


def evaluate(request: dict[str, Any]) -> dict[str, Any]:
    """Judge the model in `folder` on the held-out headlines, beside the most frequent label and the model in use."""
    exports_dir, processed_dir = Path(request["exports_dir"]), Path(request["processed_dir"])
    record = _record(processed_dir)
    chosen = description_of(exports_dir).headlines
    if chosen is None or chosen.model is None:
        raise BrokenSpec("no model is in use to compare with; `cbi-queue text use` chooses the stock one first")
    candidate, stock = check_model(Path(request["folder"])), check_model(Path(chosen.model))
    found = outcomes(exports_dir, Path(request["exports"][record["horizon"]]), record["horizon"])
    held = np.flatnonzero(found.days[found.row] >= np.datetime64(record["held_out_from"]))
    if len(held) < FEWEST:
        raise BrokenSpec(
            f"{len(held)} held-out headlines are too few; at least {FEWEST} are needed: import more of them"
        )
    truth = labelled(found.change[held], record["lower"], record["upper"])
    texts = [found.text[at] for at in held]
    majority = max(LABELS, key=lambda label: (record["labels"][label], label))
    hits = {
        "model": _hits(_predicted(candidate, texts, chosen.max_length, request["threads"]), truth),
        "stock": _hits(_predicted(stock, texts, chosen.max_length, request["threads"]), truth),
        "majority": _hits([majority] * len(truth), truth),
    }
    answer = {
        "sha256": candidate.sha256(),
        "stock_sha256": stock.sha256(),
        "horizon": record["horizon"],
        "held_out_from": record["held_out_from"],
        "headlines": len(held),
        "days": len(np.unique(found.row[held])),
        "majority": majority,
        "accuracy": float(hits["model"].mean()),
        "stock_accuracy": float(hits["stock"].mean()),
        "majority_accuracy": float(hits["majority"].mean()),
        "over_majority": lead(hits["model"] - hits["majority"], found.row[held], found.h),
        "over_stock": lead(hits["model"] - hits["stock"], found.row[held], found.h),
    }
    return answer | {"verdict": verdict(answer)}


def _record(processed_dir: Path) -> dict[str, Any]:
    path = processed_dir / HAND_OVER
    try:
        found: dict[str, Any] = json.loads(read_whole(path))
        if found["horizon"] not in HORIZON_DAYS or sorted(found["labels"]) != sorted(LABELS):
            raise ValueError
        np.datetime64(found["held_out_from"])
        float(found["lower"]), float(found["upper"])
    except FileNotFoundError as exc:
        raise BrokenSpec(
            "no headlines were handed over, so none are known to be held out; `cbi-queue text export-training` "
            "comes first"
        ) from exc
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as exc:
        raise BrokenSpec(f"{path} cannot be read; `cbi-queue text export-training` writes it again") from exc
    return found


def _predicted(model: TextModel, texts: list[str], max_length: int, threads: int) -> list[str]:
    """Return the most probable label of each text; whatever is neither positive nor negative is neutral."""
    from jobs.torch_backend.sentiment import Sentiment

    net = Sentiment(model, max_length, threads)
    tokens = net.tokens(texts)
    order = sorted(range(len(texts)), key=lambda at: -len(tokens[at]))
    found = [""] * len(texts)
    for start in range(0, len(order), BATCH):
        batch = order[start : start + BATCH]
        for at, (positive, negative) in zip(batch, net.scores([tokens[at] for at in batch]).tolist(), strict=True):
            found[at] = LABELS[int(np.argmax([positive, negative, 1.0 - positive - negative]))]
    return found


def _hits(predicted: list[str], truth: list[str]) -> np.ndarray:
    return np.array([a == b for a, b in zip(predicted, truth, strict=True)], dtype=np.float64)


def lead(difference: np.ndarray, row: np.ndarray, h: int) -> dict[str, Any]:
    """Return the mean of *difference* with its 95 % interval.

    A circular block bootstrap over the trading days (Politis & Romano 1992) with blocks of 2h days: headlines of one
    day share their price change, and those of days less than h apart share a part of it.

    Args:
        difference: (n,) hits of the one less those of the other, -1 to 1.
        row: (n,) trading day of each headline, rising.
        h: trading days of a price change.
    """
    days = int(row[-1] - row[0]) + 1
    total = np.bincount(row - row[0], difference, minlength=days)
    count = np.bincount(row - row[0], minlength=days)
    block = min(2 * h, days)
    found: dict[str, Any] = {"lead": float(difference.mean()), "interval": None}
    if days < FEWEST_BLOCKS * block:
        return found
    starts = np.random.default_rng(0).integers(0, days, size=(DRAWS, -(-days // block)))
    at = (starts[:, :, None] + np.arange(block)) % days  # (draws, blocks, days of a block)
    at = at.reshape(DRAWS, -1)[:, :days]
    counts = count[at].sum(axis=1)
    means = total[at].sum(axis=1)[counts > 0] / counts[counts > 0]
    low, high = np.quantile(means, [0.025, 0.975])
    return found | {"interval": [float(low), float(high)]}


def verdict(answer: dict[str, Any]) -> str:
    """Say whether the model can be told apart from the most frequent label and from the model in use."""
    better = [
        answer[key]["interval"] is not None and answer[key]["interval"][0] > 0
        for key in ("over_majority", "over_stock")
    ]
    if all(better):
        return "It is better than the most frequent label and than the model in use."
    if better[1]:
        return "It is better than the model in use, but not told apart from the most frequent label: it may be luck."
    if better[0]:
        return (
            "It is better than the most frequent label, but not told apart from the model in use: no reason to change."
        )
    return "It is not told apart from the most frequent label, nor from the model in use: there is no reason to change."


def main() -> int:
    """Answer one request; return the exit code."""
    request = json.load(sys.stdin)
    try:
        if request["action"] == "evaluate":
            os.nice(10)
        answer = evaluate(request) if request["action"] == "evaluate" else export_training(request)
    except (BrokenSpec, CbiError) as exc:
        answer = {"fault": str(exc)}
    except OSError as exc:
        answer = {"fault": f"{exc.filename}: {exc.strerror}"}
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
