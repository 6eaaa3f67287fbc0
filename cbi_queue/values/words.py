"""The wording of complaints about values: the value seen, what is allowed, what was meant.

Turns places, values and JSON Schema fragments into sentences, and errors of pydantic into the same sentences, so that its
own words reach nobody. One wording for plans, `edit`, the API, and what trainers are given.
"""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any, get_args

from cbi_queue.values.written import blanks_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic_core import ErrorDetails

KeyPath = tuple[str | int, ...]
"""Where in a file or value: mapping keys and list positions from the root, as in `("jobs", 2, "params", "num_leaves")`."""

LARGEST_SHOWN = 10**60
LONGEST_SEEN = 60
"""Characters of a value that a complaint repeats."""


def dotted(key: KeyPath) -> str:
    """Return a place as people write it: `jobs[2].params.num_leaves`."""
    text = ""
    for part in key:
        text += f"[{part}]" if isinstance(part, int) else f".{shortened(part)}"
    return text.removeprefix(".")


def shortened(text: str) -> str:
    """Cut *text* to LONGEST_SEEN characters."""
    return text if len(text) <= LONGEST_SEEN else f"{text[: LONGEST_SEEN - 1]}…"


def seen(value: object) -> str:
    """Name a value as it was read; text in quotes, so that `'1'` and `1` differ."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return shortened(f"the list {json.dumps(value, ensure_ascii=False)}")
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if hasattr(value, "isoformat"):  # TOML has dates and times
        return f"the date or time {value.isoformat()}"
    if isinstance(value, int) and abs(value) > LARGEST_SHOWN:
        return "a number of more than 60 digits"
    return shortened(repr(value)) + (
        f" (holds {blanks_in(value)})" if isinstance(value, str) and blanks_in(value) else ""
    )


OTHER_WORDS = {
    "early_stopping": "patience", "early_stopping_rounds": "patience", "ffn": "feed_forward", "filters": "channels",
    "gru_1layer": "gru", "lookback": "sequence_length", "lr": "learning_rate", "lstm_1layer": "lstm", "mlp": "feed_forward",
    "n_trials": "search_trials", "nb_filters": "channels", "num_boost_round": "n_estimators", "num_heads": "heads",
    "num_layers": "layers", "seq_len": "sequence_length", "trials": "search_trials", "units": "hidden_size",
}  # fmt: skip
"""What Keras, Optuna and others call what is ours."""


def did_you_mean(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Return ` (did you mean 'x'?)` for a near miss or another's word, else nothing; *cutoff* 1 takes only equal words."""
    import difflib

    names, seen_word = list(known), word[:LONGEST_SEEN]
    near = [name for name in names if name == OTHER_WORDS.get(seen_word.lower())]
    for written in (seen_word, seen_word.lower()):
        near = near or difflib.get_close_matches(written, names, n=1, cutoff=cutoff)
    return f" (did you mean {near[0]!r}?)" if near else ""


def unknown(what: str, word: str, known: Iterable[str]) -> str:
    """Return in words that *word* is not a known *what*, with the nearest one and all that are known."""
    names = list(known)
    return f"unknown {what} {shortened(word)!r}{did_you_mean(word, names)}; allowed: {', '.join(names) or 'none'}"


def not_allowed(value: object, allowed: str) -> str:
    """Return in words what was seen and what is allowed."""
    return f"{seen(value)} is not allowed; allowed: {allowed}"


def schema_at(schema: Mapping[str, Any], loc: KeyPath) -> tuple[Mapping[str, Any], KeyPath]:
    """Walk *loc* down a JSON Schema as far as it leads; return the fragment and the part of *loc* that was walked."""
    here: Mapping[str, Any] = schema
    walked: KeyPath = ()
    for part in loc:
        below = here.get("items") if isinstance(part, int) else _property(here, part)
        if not isinstance(below, dict):
            break
        here = _resolved(below, schema)
        walked = (*walked, part)
    return here, walked


def _property(schema: Mapping[str, Any], key: str) -> Any:
    return _properties(schema).get(key, schema.get("additionalProperties"))


def _properties(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the keys of a mapping, also of one that may be null instead."""
    found: Mapping[str, Any] = next(
        (f["properties"] for f in (schema, *schema.get("anyOf", ())) if "properties" in f), {}
    )
    return found


def _resolved(fragment: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = fragment.get("$ref")
    if reference is None:
        items, choices = fragment.get("items"), fragment.get("anyOf")
        if isinstance(items, dict):
            return {**fragment, "items": _resolved(items, root)}
        return {**fragment, "anyOf": [_resolved(each, root) for each in choices]} if choices else fragment
    resolved: Mapping[str, Any] = root["$defs"][reference.rpartition("/")[2]]
    return _resolved(resolved, root)


def words_for(fragment: Mapping[str, Any]) -> str:
    """Return in words what a JSON Schema fragment allows."""
    if "anyOf" in fragment:
        return " or ".join(words_for(choice) for choice in fragment["anyOf"])
    if "enum" in fragment:
        return "one of " + ", ".join(str(choice) for choice in fragment["enum"])
    kind = str(fragment.get("type", "any value"))
    words = _KIND_WORDS.get(kind, kind)
    if kind in {"integer", "number"}:
        return words + _range_words(fragment)
    if kind == "array":
        return words + _length_words(fragment)
    if "pattern" in fragment:
        return f"{words} like {fragment['pattern']}"
    return words + _characters_words(fragment)


def _characters_words(fragment: Mapping[str, Any]) -> str:
    least, most = fragment.get("minLength", 0), fragment.get("maxLength")
    if most is not None:
        return f" of {f'{least} to' if least else 'at most'} {most} characters"
    return " that is not empty" if least else ""


_KIND_WORDS = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "null",
}


def _range_words(fragment: Mapping[str, Any]) -> str:
    low, high = fragment.get("minimum", fragment.get("ge")), fragment.get("maximum", fragment.get("le"))
    if low is not None and high is not None:
        return f" from {low:g} to {high:g}" if abs(high) < 1e6 else f" from {low} to {high}"
    bounds = [f"{words} {_plain_number(fragment[key])}" for key, words in _BOUND_WORDS.items() if key in fragment]
    return f" {' and '.join(bounds)}" if bounds else ""


def _plain_number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1e6 and value == int(value) else f"{value:g}"


_BOUND_WORDS = {
    "minimum": "of at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "exclusiveMaximum": "below",
}


def _length_words(fragment: Mapping[str, Any]) -> str:
    low, high = fragment.get("minItems", 0), fragment.get("maxItems")
    span = f"{low}" if low == high else f"{low} to {high}"
    of = f" of {span} entries" if high is not None else (f" of at least {low}" if low else "")
    items = fragment.get("items")
    return f"{of}, each {words_for(items)}" if isinstance(items, dict) and items else of


@cache
def kinds_of_pydantic() -> frozenset[str]:
    """Return the kinds of error in pydantic's own words; other kinds are from classes, which speak for themselves."""
    from pydantic_core.core_schema import ErrorType

    return frozenset(get_args(ErrorType)) - {"value_error", "assertion_error"}


def fault_words(error: ErrorDetails, schema: Mapping[str, Any], what: str = "key") -> tuple[KeyPath, str]:
    """Return where a value is wrong and why: one error of pydantic in our words.

    Args:
        error: as from `ValidationError.errors()`.
        schema: the JSON Schema of what was checked.
        what: what a key is called there.
    """
    loc, kind, value = tuple(error["loc"]), error["type"], error.get("input")
    if kind not in kinds_of_pydantic():
        return loc, str(error.get("ctx", {}).get("error") or error["msg"])
    if kind == "extra_forbidden":
        around, _ = schema_at(schema, loc[:-1])
        return loc, unknown(what, str(loc[-1]), _properties(around))
    fragment, walked = schema_at(schema, loc)
    if loc and not walked and kind != "missing":
        return loc, f"{seen(value)} is not allowed here"
    if kind == "missing":
        few = f"a list of {loc[-1]} is not allowed; allowed: {words_for(fragment)}"
        absent = f"the key {loc[-1]!r} is missing; it takes {words_for(fragment)}"
        return loc[:-1], few if isinstance(loc[-1], int) else absent
    if kind in {"too_long", "too_short"} and isinstance(value, list | tuple):
        return walked, f"a list of {len(value)} entries is not allowed; allowed: {words_for(fragment)}"
    choices = [name for part in (fragment, *fragment.get("anyOf", ())) for name in part.get("enum", ()) if name]
    meant = did_you_mean(value, map(str, choices)) if isinstance(value, str) and choices else ""
    return walked, not_allowed(value, words_for(fragment)).replace("; allowed", f"{meant}; allowed", 1)


def placed(key: KeyPath, text: str) -> str:
    """Return *text* after the place that it is about: `params.epochs: 'many' is not allowed; allowed: …`."""
    return f"{dotted(key)}: {text}" if key else text
