"""One YAML file -> plain values with the line of every key. Nothing in a file is trusted.

A plan is text, numbers, true/false, null, lists and mappings, by the YAML 1.2 core rules that editors use as well:
`yes`, `on`, `1_000`, `1:30` and dates are text. Tags, anchors, aliases, duplicate keys, a second document and control
characters are refused, and size, depth and number of nodes are limited, so that reading any file is quick. What the keys mean
is not known here.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import yaml
from yaml.composer import ComposerError
from yaml.reader import ReaderError

from cbi_queue.plan.complaints import Complaints
from cbi_queue.regular_files import open_stream
from cbi_queue.values.words import shortened
from cbi_queue.values.written import character_words, core_value, look_alikes, not_utf8_words

if TYPE_CHECKING:
    from pathlib import Path

    from cbi_queue.values.words import KeyPath

MAX_BYTES = 256 * 1024
"""Largest file. 500 jobs written out one by one take half of it."""
MAX_DEPTH = 16
"""Deepest nesting; a plan needs 6."""
_LONGEST_PROBLEM = 160
"""Characters of the parser's own words that a complaint repeats; they may quote the file."""
_MOST_BLANKS = 20
"""Look-alike blanks that are named one by one."""
_USE_SPACES = "write an ordinary space, or put the text in quotes"
MAX_NODES = 20_000
"""Most keys and values in a file; 500 jobs of 20 keys have as many."""


@dataclass(frozen=True, slots=True)
class Source:
    """The content of one file."""

    name: str
    """The path as it was given, for people."""
    data: Any
    """Plain values: dict, list, str, int, float, bool, None."""
    lines: dict[KeyPath, int] = field(repr=False)
    """Line of every key and list entry, counted from 1."""
    is_copy: bool = False
    """True for text that is no file of its own, as one pasted on a page: nothing is relative to its folder."""

    def line_of(self, key: KeyPath) -> int:
        """Return the line of *key*, or of the nearest thing around it."""
        while key and key not in self.lines:
            key = key[:-1]
        return self.lines.get(key, 1)


def read_source(path: Path, complaints: Complaints, copy_of: str | None = None) -> Source | None:
    """Read *path*; None when it is unreadable as a whole. What is wrong goes to *complaints*.

    *copy_of* is what the text is called when *path* only carries it here.
    """
    name = copy_of or str(path)
    text = _text_of(path, name, complaints)
    source = None if text is None else _read_text(name, text, complaints)
    return replace(source, is_copy=True) if source and copy_of else source


def read_value(text: str) -> Any:
    """Return the value that *text*, given for a key on a command line, has in a plan.

    Raises:
        ValueError: with what is wrong, in words, when a plan could not hold it.
    """
    complaints = Complaints()
    source = _read_text("", text, complaints) if text.strip() else Source("", None, {})
    if found := complaints.sentences():
        raise ValueError("; ".join(re.sub(r"^(:[0-9]+)?: ", "", each) for each in found))
    return None if source is None else source.data


def _read_text(name: str, text: str, complaints: Complaints) -> Source | None:
    if _complain_of_blanks(name, text, complaints):
        return None
    try:
        composer = _Composer(text)
        try:
            root = composer.get_single_node()
        finally:
            composer.dispose()
    except (yaml.YAMLError, ValueError, OverflowError) as exc:
        line, words = _words_of(exc, text)
        complaints.add(name, line, (), words)
        return None
    if root is None:
        complaints.add(name, 1, (), "the file is empty; a plan needs at least `day` and `jobs`")
        return None
    reader = _Reader(name, composer.tags, complaints)
    data = reader.plain(root, ())
    return Source(name, data, reader.lines)


_QUOTED_OR_COMMENT = re.compile(r'"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\n]|\'\')*\'|(?:^|(?<=\s))#[^\n]*', re.MULTILINE)


def _complain_of_blanks(name: str, text: str, complaints: Complaints) -> bool:
    """Complain about blanks that only look like spaces, outside quotes and comments; return True if there are any."""
    found = look_alikes(text, _QUOTED_OR_COMMENT)
    for line, column, character in found[:_MOST_BLANKS]:
        complaints.add(
            name, line, (), f"column {column}: {character_words(character)} looks like a space; {_USE_SPACES}"
        )
    return bool(found)


def _text_of(path: Path, name: str, complaints: Complaints) -> str | None:
    """Read at most MAX_BYTES of UTF-8 from a regular file; never block on a pipe or a device."""
    try:
        with open_stream(path, follow=True) as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        complaints.add(name, None, (), "cannot be read: no such file")
        return None
    except (OSError, ValueError) as exc:
        complaints.add(name, None, (), f"cannot be read: {getattr(exc, 'strerror', None) or exc}")
        return None
    if len(content) > MAX_BYTES:
        complaints.add(name, None, (), f"the file is larger than {MAX_BYTES // 1024} KiB, the limit for a plan")
        return None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line, words = not_utf8_words(exc)
        complaints.add(name, line, (), words)
        return None


class _Composer(yaml.SafeLoader):
    """Composes nodes within the limits; constructs nothing."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.tags: dict[int, str] = {}
        """Tags written in the file, by the node's id."""
        self._depth = 0
        self._nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            self._refuse(f"anchors (&) and aliases (*) are not allowed: {event.anchor!r}; write the values out", event)
        self._nodes += 1
        if self._nodes > MAX_NODES:
            self._refuse(f"more than {MAX_NODES} keys and values, the limit for a plan", event)
        if self._depth >= MAX_DEPTH:
            self._refuse(f"nested deeper than {MAX_DEPTH} levels, the limit for a plan", event)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is not None and getattr(event, "tag", None) is not None:
            self.tags[id(node)] = event.tag
        return node

    def _refuse(self, problem: str, event: Any) -> None:
        raise ComposerError(None, None, problem, event.start_mark)


def _words_of(exc: Exception, text: str) -> tuple[int | None, str]:
    """Line and sentence of what the scanner, parser, composer or character reader refused."""
    if isinstance(exc, ReaderError):
        before = text[: exc.position]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        return line, f"column {column}: the character U+{int(exc.character):04X} is not allowed in YAML"
    if isinstance(exc, ComposerError) and (exc.context or "").startswith("expected a single document"):
        return _line(exc.problem_mark), "a second document starts here (`---`); a plan file holds one document"
    if isinstance(exc, ComposerError):
        return _line(exc.problem_mark), str(exc.problem)
    if isinstance(exc, yaml.MarkedYAMLError):
        mark = exc.problem_mark or exc.context_mark
        where = "" if mark is None else f"column {mark.column + 1}: "
        context = f" {exc.context}" if exc.context else ""
        problem = str(exc.problem)[:_LONGEST_PROBLEM]
        if "'\\t'" in problem:
            return _line(mark), f"{where}a tab (U+0009) cannot indent or begin a value in YAML; use spaces"
        hint = "; text with {placeholders} needs quotes inside [ ]" if problem.endswith("got '{'") else ""
        return _line(mark), f"{where}broken YAML{context}: {problem}{hint}"
    return None, f"broken YAML: {str(exc)[:_LONGEST_PROBLEM]}"


def _line(mark: Any) -> int | None:
    return None if mark is None else mark.line + 1


class _Reader:
    """Turns nodes into plain values and keeps the line of every key."""

    def __init__(self, name: str, tags: dict[int, str], complaints: Complaints) -> None:
        self.lines: dict[KeyPath, int] = {}
        self._name = name
        self._tags = tags
        self._complaints = complaints

    def plain(self, node: yaml.Node, key: KeyPath) -> Any:
        """Return the value of *node*, at *key*."""
        self.lines.setdefault(key, node.start_mark.line + 1)
        if (tag := self._tags.get(id(node))) is not None:
            short = tag.replace("tag:yaml.org,2002:", "!!")
            self._complain(
                node,
                key,
                f"the tag {shortened(short)!r} is not allowed; a plan holds only text, numbers, lists and mappings",
            )
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, key)
        if isinstance(node, yaml.SequenceNode):
            return [self.plain(item, (*key, i)) for i, item in enumerate(node.value)]
        self._check_characters(node, key)
        text: str = node.value
        is_quoted = isinstance(node, yaml.ScalarNode) and node.style is not None
        return text if is_quoted else core_value(text)

    def _mapping(self, node: yaml.MappingNode, key: KeyPath) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._complain(key_node, key, "a key must be text, not a list or mapping")
                continue
            self._check_characters(key_node, key)
            name = key_node.value
            below = (*key, name)
            if name in values:
                self._complain(key_node, below, f"this key appears twice; first in line {self.lines[below]}")
                continue
            self.lines[below] = key_node.start_mark.line + 1
            values[name] = self.plain(value_node, below)
        return values

    def _check_characters(self, node: yaml.Node, key: KeyPath) -> None:
        bad = next((c for c in node.value if not _is_printable(c)), None)
        if bad is not None:
            self._complain(node, key, f"the character U+{ord(bad):04X} is not allowed; use printable text on one line")
            node.value = "".join(c for c in node.value if _is_printable(c))

    def _complain(self, node: yaml.Node, key: KeyPath, text: str) -> None:
        self._complaints.add(self._name, node.start_mark.line + 1, key, text)


_BIDI_CONTROLS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that make a terminal show text in another order than it is written."""


def _is_printable(character: str) -> bool:
    return unicodedata.category(character) not in {"Cc", "Cs", "Zl", "Zp"} and character not in _BIDI_CONTROLS
