"""Choices about a data set as they are typed: `missing_price=drop`, `columns.rsi.role=as_is`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cbi_queue.datasets.description import Column, DataSet, checked_description
from cbi_queue.datasets.headlines import CHOICES as OF_HEADLINES
from cbi_queue.datasets.place import DEFAULT
from cbi_queue.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

PLAIN = ("label", "missing_price", "max_features", "cost_per_turnover")
OF_COLUMN = tuple(Column.model_fields)


def with_choices(description: DataSet, typed: Sequence[str]) -> DataSet:
    """Return *description* with what was *typed*, KEY=VALUE each; `null` takes a choice back.

    Raises:
        Refused: naming the key, the value and what is allowed.
    """
    body: dict[str, Any] = description.model_dump(mode="json", exclude_defaults=True)
    for text in typed:
        key, equals, written = text.partition("=")
        if not equals or not key.strip():
            raise Refused(f"cannot read {text!r}; write KEY=VALUE, for example missing_price=drop")
        is_time = key.strip() == "headlines.close"  # 13:20 is a number in YAML
        _put(body, key.strip(), written.strip() if is_time and written.strip() != "null" else _value(text, written))
    return checked_description(body, "cannot choose")


def for_dataset(words: str, dataset: str) -> str:
    """Complete the commands that *words* name, so that they can be typed for any data set."""
    return words if dataset == DEFAULT else words.replace("data edit ", f"data edit --dataset {dataset} ")


def no_returns_words(model: str, dataset: str) -> str:
    """Say why a model of log returns cannot be trained on a data set whose label is a difference, and what to do."""
    return (
        f"{model} is a model of log returns, and the data set {dataset} has none: its label is difference; leave the job "
        f"out, or, if every price is above 0, choose `{for_dataset('cbi-queue data edit label=log_return', dataset)}`"
    )


def _value(text: str, written: str) -> Any:
    import yaml  # not above: trainers read this module, and the runtime of TensorFlow has no YAML

    try:
        return yaml.safe_load(written)
    except yaml.YAMLError as exc:
        raise Refused(f"cannot read the value of {text!r}; write it as in a plan, such as 5 or as_is") from exc


def _put(body: dict[str, Any], key: str, value: Any) -> None:
    if key in PLAIN:
        target, last = body, key
    elif key.startswith("columns.") and key.count(".") >= 2:
        name, _, last = key.removeprefix("columns.").rpartition(".")
        if last not in OF_COLUMN:
            raise Refused(f"{key!r} is no choice about a column; allowed: {', '.join(OF_COLUMN)}")
        target = body.setdefault("columns", {}).setdefault(name, {})
    elif key.startswith("headlines.") and (last := key.removeprefix("headlines.")) in OF_HEADLINES:
        if "headlines" not in body:
            raise Refused(f"cannot choose {key}: the data set has no headlines", hint="`cbi-queue text import FILE`")
        target = body["headlines"]
    else:
        columns = ", ".join(f"columns.NAME.{field}" for field in OF_COLUMN)
        of_headlines = ", ".join(f"headlines.{name}" for name in OF_HEADLINES)
        raise Refused(f"{key!r} is no choice about a data set; allowed: {', '.join(PLAIN)}, {columns}, {of_headlines}")
    if value is None:
        target.pop(last, None)
    else:
        target[last] = value
