"""A data set with headlines, as `text import` and `text use` leave it, scored by a tiny BERT with random weights."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from cbi_queue.datasets.description import checked_description, write_description
from cbi_queue.text_model import check_model
from jobs.importing.headlines import stage
from support.tiny_bert import headline, make_tiny_bert

if TYPE_CHECKING:
    from pathlib import Path

FIRST = datetime(2018, 1, 2, 9, 0, tzinfo=UTC)


def some_headlines(days: int, seed: int = 0) -> list[tuple[str, str]]:
    """Times and texts of *days* days, about two a day, of many lengths."""
    drawn = random.Random(seed)
    return [
        ((FIRST + timedelta(hours=12 * number)).isoformat(), headline(number, drawn.randint(2, 20)))
        for number in range(2 * days)
    ]


def give_headlines(
    exports: Path, model: Path, days: int = 30, rows: list[tuple[str, str]] | None = None, **choices: Any
) -> Path:
    """Import *rows* (default: some) into *exports*, and choose a tiny BERT, made in *model* unless it is there."""
    work = exports / "work"
    work.mkdir(exist_ok=True)
    source = work / "news.csv"
    lines = [f'{moment},"{text}"' for moment, text in (rows or some_headlines(days))]
    source.write_text("\n".join(["published_at,headline", *lines, ""]), encoding="utf-8")
    answer = stage({"files": [str(source)], "work": str(work)})
    (work / "headlines.parquet").replace(exports / "headlines.parquet")
    if not (model / "config.json").exists():
        make_tiny_bert(model)
    chosen = {"sha256": answer["sha256"], "model": str(model), "model_sha256": check_model(model).sha256(), **choices}
    write_description(exports, checked_description({"headlines": chosen}, "the test"))
    return exports
