"""How the values of the state are stored: their ranges, and instants as ages. Pure.

A record is written and read with one figure as its context: the second of the present boot's clock at which it was (or
is) written. Instants count from there, so that a record means the same after a reboot.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field, PlainSerializer, SerializationInfo, ValidationInfo, WrapValidator
from pydantic_core import core_schema

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import GetCoreSchemaHandler

NEVER = float("-inf")
"""Second of the boot clock at which what never happened did."""


def _to_age(at_s: float, info: SerializationInfo[float]) -> float | None:
    return None if math.isinf(at_s) else max(0.0, _rounded(info.context - at_s))


def _from_age(age_s: float, info: ValidationInfo[float]) -> float:
    return info.context - age_s


def _to_left(until_s: float, info: SerializationInfo[float]) -> float:
    return _rounded(until_s - info.context)


def _from_left(left_s: float, info: ValidationInfo[float]) -> float:
    return info.context + left_s


def _or_never(age_s: Any, read: Callable[[Any], float]) -> float:
    return NEVER if age_s is None else read(age_s)


def not_stored(_value: Any) -> Any:
    """Refuse a value that no record has."""
    raise ValueError("it is not stored; allowed is a record without it")


def _rounded(seconds: float) -> float:
    """Keep milliseconds: no wait is finer, and records stay short."""
    return round(seconds, 3)


Past = Annotated[float, Field(ge=0.0, le=1e10), AfterValidator(_from_age), PlainSerializer(_to_age)]
"""Second of the boot clock that has passed; stored as its age."""
PastOrNever = Annotated[Past, WrapValidator(_or_never)]
"""The same, or `NEVER`; stored as null."""
Until = Annotated[float, Field(ge=-1e10, le=1e7), AfterValidator(_from_left), PlainSerializer(_to_left)]
"""Second of the boot clock at which a wait ends; stored as what is left of it, below 0 when it is over."""
Seconds = Annotated[float, Field(ge=0.0, le=1e11)]
RoundedSeconds = Annotated[Seconds, PlainSerializer(_rounded)]
Duty = Annotated[float, Field(ge=0.1, le=1.0)]
Level = Annotated[float, Field(ge=0.0, le=4.0)]
Celsius = Annotated[float, Field(ge=-100.0, le=1000.0)]
Count = Annotated[int, Field(ge=0, le=1000)]
Samples = Annotated[int, Field(ge=1, le=10**9)]
Fingerprint = Annotated[str, Field(min_length=1, max_length=1000)]
Name = Annotated[str, Field(min_length=1, max_length=100)]


@dataclass(frozen=True)
class StoredAs:
    """Annotates a value that is stored in another form; the form has the ranges."""

    form: Any
    write: Callable[[Any], Any]
    """Return the form of the value."""
    read: Callable[[Any], Any]
    """Return the value of the form."""

    def __get_pydantic_core_schema__(self, _source: object, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Return how pydantic reads and writes the form."""
        form = handler.generate_schema(self.form)
        written = core_schema.plain_serializer_function_ser_schema(self.write, return_schema=form)
        return core_schema.no_info_after_validator_function(self.read, form, serialization=written)
