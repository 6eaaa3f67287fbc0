"""The list of complaints about day plans, and their wording: the value seen, what is allowed, what was meant.

Turns places, values and JSON Schema fragments into sentences, and knows nothing of plans.
"""

from __future__ import annotations

import difflib
import json
from typing import TYPE_CHECKING, Any

from cbi_queue.errors import PlanError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

KeyPath = tuple[str | int, ...]
"""Where in a file: mapping keys and list positions from the root, as in `("jobs", 2, "params", "num_leaves")`."""

LONGEST_SEEN = 60
"""Characters of a value that a complaint repeats."""


class Complaints:
    """Everything that is wrong, each once, in the order of files and lines."""

    def __init__(self) -> None:
        """Start without a complaint."""
        self._found: dict[str, dict[str, int]] = {}

    def add(self, file: str, line: int | None, key: KeyPath, text: str) -> None:
        """Record *text* about *key* of *file*; *line* counts from 1, None where the file has none."""
        place = file if line is None else f"{file}:{line}"
        sentence = f"{place}: {dotted(key)}: {text}" if key else f"{place}: {text}"
        self._found.setdefault(file, {}).setdefault(sentence, line or 0)

    def raise_if_any(self) -> None:
        """Refuse the plans when there is a complaint.

        Raises:
            PlanError: with every complaint.
        """
        if found := self.sentences():
            raise PlanError(found)

    def sentences(self) -> list[str]:
        """Return every complaint, file by file, each file from top to bottom."""
        return [text for lines in self._found.values() for text in sorted(lines, key=lambda text: lines[text])]


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
    return shortened(repr(value))


def did_you_mean(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Return ` (did you mean 'x'?)` for a near miss, else nothing; *cutoff* 1 takes only equal words."""
    near = difflib.get_close_matches(word[:LONGEST_SEEN], known, n=1, cutoff=cutoff)
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
    return schema.get("properties", {}).get(key, schema.get("additionalProperties"))


def _resolved(fragment: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = fragment.get("$ref")
    if reference is None:
        items = fragment.get("items")
        return {**fragment, "items": _resolved(items, root)} if isinstance(items, dict) else fragment
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
    return f"{words} of at most {fragment['maxLength']} characters" if "maxLength" in fragment else words


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
    low, high = fragment.get("minimum"), fragment.get("maximum")
    if low is not None and high is not None:
        return f" from {low:g} to {high:g}" if abs(high) < 1e6 else f" from {low} to {high}"
    bounds = [f"{words} {fragment[key]:g}" for key, words in _BOUND_WORDS.items() if key in fragment]
    return f" {' and '.join(bounds)}" if bounds else ""


_BOUND_WORDS = {
    "minimum": "of at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "exclusiveMaximum": "below",
}


def _length_words(fragment: Mapping[str, Any]) -> str:
    low, high = fragment.get("minItems", 0), fragment.get("maxItems")
    of = f" of {low} to {high} entries" if high is not None else (f" of at least {low}" if low else "")
    items = fragment.get("items")
    return f"{of}, each {words_for(items)}" if isinstance(items, dict) and items else of
