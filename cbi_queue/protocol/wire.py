"""How a message is written: one JSON object a line, with `v` (the protocol version) and `type`. Pure.

What comes from the other side is checked against the declared fields before it is used.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from types import NoneType, UnionType
from typing import Any, ClassVar, get_args, get_origin, get_type_hints

from cbi_queue.errors import ProtocolError
from cbi_queue.protocol.directives import Assignment, Directive
from cbi_queue.protocol.messages import PROTOCOL_VERSION, Message
from cbi_queue.protocol.reports import FailureKind, Report

MAX_LINE_BYTES = 1_048_576
"""A longer line is refused: no message comes near it, and it must not fill the daemon's memory."""

_REPORTS: dict[str, type[Message]] = {cls.type: cls for cls in get_args(Report)}
_DIRECTIVES: dict[str, type[Message]] = {cls.type: cls for cls in get_args(Directive)}
_KINDS: dict[Any, dict[str, Any]] = {
    cls: {name: kind for name, kind in get_type_hints(cls).items() if get_origin(kind) is not ClassVar}
    for cls in (Assignment, *_REPORTS.values(), *_DIRECTIVES.values())
}
"""Class -> field -> its declared type."""


def encode(message: Message) -> bytes:
    """Write *message* as one line. Text that is not valid Unicode (a broken file name in an error) is made valid.

    Raises:
        ProtocolError: when a number is not finite (JSON has no NaN) or the line would be over-long.
    """
    body = {"v": PROTOCOL_VERSION, "type": message.type, **asdict(message)}
    try:
        text = json.dumps(body, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    except (TypeError, ValueError) as exc:
        raise ProtocolError(f"cannot send a {message.type!r} line: {exc}") from exc
    line = text.encode(errors="replace") + b"\n"
    if len(line) > MAX_LINE_BYTES:
        raise ProtocolError(f"cannot send a {message.type!r} line of {len(line)} bytes; {MAX_LINE_BYTES} are allowed")
    return line


def decode_report(line: bytes) -> Report:
    """Read one line from a trainer. Raises ProtocolError for anything that is not a valid report."""
    return _decode(line, _REPORTS)  # type: ignore[return-value]


def decode_directive(line: bytes) -> Directive:
    """Read one line from the slot. Raises ProtocolError for anything that is not a valid directive."""
    return _decode(line, _DIRECTIVES)  # type: ignore[return-value]


def _decode(line: bytes, known: dict[str, type[Message]]) -> Message:
    seen = line[:120]
    if len(line) > MAX_LINE_BYTES:
        raise ProtocolError(f"received a line of {len(line)} bytes; {MAX_LINE_BYTES} are allowed")
    try:
        body = json.loads(line.decode(), parse_constant=_refuse_constant, parse_float=_finite)
        version, name = body.pop("v"), body.pop("type")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise ProtocolError(f"not a protocol line: {seen!r} ({exc})") from exc
    if type(version) is not int or version != PROTOCOL_VERSION:
        raise ProtocolError(
            f"received protocol version {version!r}; this version of cbi-queue uses {PROTOCOL_VERSION}: {seen!r}"
        )
    if not isinstance(name, str) or name not in known:
        raise ProtocolError(f"unknown line type {name!r}; known: {', '.join(known)}")
    try:
        message: Message = _build(known[name], body)
    except (TypeError, ValueError) as exc:
        raise ProtocolError(f"a {name!r} line has wrong fields: {seen!r} ({exc})") from exc
    return message


def _refuse_constant(name: str) -> float:
    msg = f"{name} is not a number"
    raise ValueError(msg)


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse_constant(text)


def _build(cls: type[Any], body: dict[str, Any]) -> Any:
    kinds = _KINDS[cls]
    return cls(**{name: _fitted(name, value, kinds[name]) if name in kinds else value for name, value in body.items()})


def _fitted(name: str, value: Any, kind: Any) -> Any:
    """Return *value* as a field of type *kind* holds it, or raise TypeError or ValueError."""
    if kind is Assignment and isinstance(value, dict):
        return _build(Assignment, value)
    if kind is FailureKind:
        return FailureKind(value)
    if not _fits(value, kind):
        msg = f"{name} cannot be {value!r:.60}"
        raise TypeError(msg)
    return tuple(value) if get_origin(kind) is tuple else value


def _fits(value: Any, kind: Any) -> bool:
    """Return True if a JSON value is valid for *kind*. Integers must fit into SQLite."""
    origin = get_origin(kind)
    if origin is UnionType:
        return any(_fits(value, one) for one in get_args(kind))
    if origin is tuple:
        return isinstance(value, list) and all(_fits(one, get_args(kind)[0]) for one in value)
    if origin is dict:
        of_values = get_args(kind)[1]
        return isinstance(value, dict) and (of_values is Any or all(_fits(one, of_values) for one in value.values()))
    if kind in {int, float}:
        allowed = (int, float) if kind is float else int
        return isinstance(value, allowed) and not isinstance(value, bool) and abs(value) < 2**63
    if kind is str:
        return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)
    return isinstance(value, {NoneType: NoneType, bool: bool}.get(kind, origin or kind))
