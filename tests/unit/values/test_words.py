"""Errors of pydantic, also of the classes of packages, in our words."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from pydantic import Field, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from cbi_queue.models.parameters.common import ModelParams
from cbi_queue.spec import check_params
from cbi_queue.values.words import fault_words, placed


class Package(ModelParams):
    """Parameters as the class of a package may declare them."""

    kind: Literal["fast", "exact"] = "fast"
    order: tuple[int, int, int] = (1, 0, 1)
    span: int | None = Field(default=None, ge=2)
    own: int = 0

    @field_validator("own")
    @classmethod
    def _check(cls, value: int) -> int:
        if value == 1:
            raise ValueError("one is lonely")
        if value == 2:
            raise PydanticCustomError("acme_error", "{two} is company")
        assert value != 3, "three is a crowd"
        return value


class Entry:
    """As much of a model's entry as the check needs."""

    params = Package


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"kind": "fats"}, "params.kind: 'fats' is not allowed (did you mean 'fast'?); allowed: one of fast, exact"),
        ({"order": [1, 2]}, "params.order: a list of 2 is not allowed; allowed: a list of 3 entries"),
        ({"span": 1}, "params.span: 1 is not allowed; allowed: a whole number of at least 2 or null"),
        ({"span": "x\u00a0"}, "params.span: 'x\\xa0' (holds U+00A0 NO-BREAK SPACE) is not allowed"),
        ({"own": 1}, "params.own: one is lonely"),
        ({"own": 2}, "params.own: {two} is company"),
        ({"own": 3}, "params.own: three is a crowd"),
        ({"nope": 1}, "params.nope: unknown parameter 'nope'; allowed: kind, order, span, own"),
    ],
)
def test_what_a_package_checks_is_told_in_our_words_or_its_own(params: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError) as refused:
        check_params(Entry(), params)  # type: ignore[arg-type]
    schema = {"properties": {"params": Package.model_json_schema()}}
    words = {placed(*fault_words(error, schema, "parameter")) for error in refused.value.errors()}
    assert any(each.startswith(told) for each in words), words
