"""`dataset.json` beside the exports: what the owner of a data set chose, and what its import found.

Without the file every choice has its default, so an export that was put there by hand reads as it always did.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cbi_queue.artifacts import write_json
from cbi_queue.datasets.headlines import Headlines  # noqa: TC001 - pydantic reads annotations at run time
from cbi_queue.datasets.place import DESCRIPTION_NAME
from cbi_queue.errors import Refused
from cbi_queue.regular_files import read_whole

if TYPE_CHECKING:
    from pathlib import Path

_FIELDS = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)

Role = Literal["series", "as_is", "ignore"]


class Column(BaseModel):
    """What is made of one column beside date and price."""

    model_config = _FIELDS

    role: Role = "series"
    """series: returns and rolling statistics are made from it. as_is: its value is the feature. ignore: left out."""
    lag_days: int = Field(default=0, ge=0, le=366)
    """Calendar days from the date of a value to the day on which it was published."""
    max_age_days: int | None = Field(default=None, ge=1, le=3660)
    """A missing value is the last published one, if it is not older than this; None: a gap stays a gap."""


class DataSet(BaseModel):
    """The choices about one data set."""

    model_config = _FIELDS

    columns: dict[str, Column] = Field(default_factory=dict)
    """Only columns that differ from the default."""
    label: Literal["log_return", "difference"] = "log_return"
    """What is forecast: log p[t+h] - log p[t], for prices above 0, or p[t+h] - p[t], for any price."""
    missing_price: Literal["refuse", "drop"] = "refuse"
    """What happens to days without a usable price."""
    max_features: int | None = Field(default=None, ge=1, le=100_000)
    """Most features; the columns that cover the fewest days, and then those most like another, go first."""
    cost_per_turnover: float = Field(default=0.0005, ge=0, le=0.1)
    """Cost of changing the position by its whole value, as a share of it: 0.0005 is 5 basis points."""
    headlines: Headlines | None = None
    """The choices about its headlines; None: it has none."""
    source: dict[str, Any] = Field(default_factory=dict)
    """What the import noted, for people: files, original names of columns, the day."""

    def reading(self) -> dict[str, Any]:
        """Return the choices that change what a job reads, those at their default left out."""
        chosen = self.model_dump(
            mode="json", exclude={"cost_per_turnover", "source", "headlines"}, exclude_defaults=True
        )
        if "columns" in chosen:
            chosen["columns"] = {name: column for name, column in chosen["columns"].items() if column}
        if self.headlines is not None:
            chosen["headlines"] = self.headlines.reading()
        return {key: value for key, value in chosen.items() if value}


def read_description(exports_dir: Path) -> DataSet:
    """Read the description of the data set whose exports are in *exports_dir*; its defaults when there is none.

    Raises:
        Refused: naming the file and every key that is wrong.
    """
    path = exports_dir / DESCRIPTION_NAME
    try:
        raw = json.loads(read_whole(path, follow=True))
    except FileNotFoundError:
        return DataSet()
    except (OSError, ValueError, RecursionError) as exc:
        raise Refused(
            f"{path} cannot be read as JSON: {getattr(exc, 'strerror', None) or exc}",
            hint="correct the file, or delete it: every choice then has its default",
        ) from exc
    return checked_description(raw, str(path))


def checked_description(raw: Any, of: str) -> DataSet:
    """Check the values of a description; *of* names where they come from.

    Raises:
        Refused: naming every key that is wrong.
    """
    try:
        return DataSet.model_validate(raw)
    except ValidationError as exc:
        found = "; ".join(_sentence(error) for error in exc.errors(include_url=False))
        raise Refused(f"{of}: {found}", hint="docs/own-data.md lists the choices of a data set") from exc


def _sentence(error: Any) -> str:
    key = ".".join(map(str, error["loc"])) or "the file"
    if error["type"] == "extra_forbidden":
        return f"{key} is not a key of a data set"
    words = {"greater_than_equal": "at least {ge}", "less_than_equal": "at most {le}", "literal_error": "{expected}"}
    kind = {"int_type": "a whole number", "int_parsing": "a whole number", "float_parsing": "a number"}
    context = {name: str(value).replace("'", "") for name, value in error.get("ctx", {}).items()}
    kind |= {name: str(error["msg"]) for name in ("no_time", "no_zone")}
    allowed = words.get(error["type"], "").format(**context) if error["type"] in words else kind.get(error["type"])
    return f"{key} is {error['input']!r}; allowed: {allowed or 'see docs/own-data.md'}"


def write_description(exports_dir: Path, description: DataSet) -> None:
    """Write *description* beside the exports, whole or not at all."""
    write_json(exports_dir / DESCRIPTION_NAME, description.model_dump(mode="json", exclude_defaults=True))
