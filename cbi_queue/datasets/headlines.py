"""The choices about a data set's headlines, and where their files lie. Pure.

`headlines.parquet` beside the exports holds them, as `text import` wrote them; `headline_scores.parquet` in the
folder of the feature caches what FinBERT gave each text, and `headline_scores.json` for which headlines and weights
it is complete. The choices belong to the snapshot of the data set: other headlines, other weights or another close
are other data.
"""

from __future__ import annotations

import json
from datetime import time
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from cbi_queue.regular_files import read_whole

if TYPE_CHECKING:
    from pathlib import Path

FILE = "headlines.parquet"
SCORES, SCORED = "headline_scores.parquet", "headline_scores.json"
HAND_OVER, EVALUATIONS = "fine_tuning.json", "fine_tuning_evaluations.json"
SENTIMENT, COUNT, DECAYED = "news_sentiment", "news_count", "news_sentiment_decayed"
COLUMNS = (SENTIMENT, COUNT, DECAYED)
"""What the features get from the headlines, in this order."""


class Headlines(BaseModel):
    """The choices about the headlines of one data set."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Of `headlines.parquet`, written by `text import`."""
    close: str = "13:20"
    """Close of the trading day, HH:MM: a later headline belongs to the next one. Default: soybean oil's in Chicago."""
    close_zone: str = "America/Chicago"
    """Time zone of the close, by its name in the IANA data base."""
    max_age_days: int = Field(default=7, ge=1, le=3660)
    """Calendar days for which the sentiment of the last headlines stands; then it is missing."""
    half_life_days: float = Field(default=3.0, gt=0, le=365)
    """Calendar days after which a headline has half its weight in the decayed mean."""
    max_length: int = Field(default=128, ge=8, le=512)
    """Tokens of a text that are read; the rest of a longer one is cut off."""
    model: str | None = None
    """Folder of the weights, chosen by `text use`."""
    model_sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """Of configuration, weights and tokenizer."""

    @field_validator("close")
    @classmethod
    def _is_time(cls, written: str) -> str:
        try:
            found = time.fromisoformat(written)
        except ValueError:
            found = None
        if found is None or len(written) != len("13:20") or found.tzinfo is not None:
            raise PydanticCustomError("no_time", "a time of day as HH:MM, such as 13:20")
        return written

    @field_validator("close_zone")
    @classmethod
    def _is_zone(cls, written: str) -> str:
        if not is_zone(written):
            raise PydanticCustomError("no_zone", "the name of a time zone, such as America/Chicago")
        return written

    def reading(self) -> dict[str, Any]:
        """Return what decides the columns: everything but the folder of the weights."""
        return self.model_dump(mode="json", exclude={"model"})


CHOICES = ("close", "close_zone", "max_age_days", "half_life_days", "max_length")
"""Those that `data edit headlines.KEY=VALUE` changes; the others follow from `text import` and `text use`."""


def is_zone(name: str) -> bool:
    """Return True for the name of a time zone that this machine knows."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return False
    return True


def is_scored(processed_dir: Path, chosen: Headlines) -> bool:
    """Return True when the last scoring covered these headlines with these weights, as a small file tells."""
    try:
        found = json.loads(read_whole(processed_dir / SCORED))
        return bool(found["of"] == scored_of(chosen)) and (processed_dir / SCORES).is_file()
    except (OSError, ValueError, KeyError, TypeError):
        return False


def scored_of(chosen: Headlines) -> dict[str, Any]:
    """Return what a complete scoring was made for."""
    return {"headlines": chosen.sha256, "model": chosen.model_sha256, "max_length": chosen.max_length}
