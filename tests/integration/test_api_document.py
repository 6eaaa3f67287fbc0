"""The OpenAPI document is true: schemathesis calls each operation of the real app with values allowed and forbidden."""

from __future__ import annotations

import contextlib

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from support.api_installation import scores

from cbi_queue.api.app import create_app
from cbi_queue.api.token import read_token

EXAMPLES = 20
"""Of each operation and mode."""


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_every_operation_does_what_the_document_says(site, mode):
    site.enqueue({"name": "a"}, {"name": "b"}, {"name": "c", "needs": ["b"]}, {"name": "d"})
    site.start_next(log="one\n")
    site.finish("a", scores(0.1))
    site.start_next(log="one\ntwo\n")
    site.report("b", [0.5, 0.4])
    headers = {"Host": f"127.0.0.1:{site.port}", "Authorization": f"Bearer {read_token(site.settings)}"}
    schema = schemathesis.openapi.from_asgi("/openapi.json", create_app(site.settings), headers=headers)
    load_all_checks()
    checks, called = CHECKS.get_all(), set()

    with site.daemon():  # else /readyz says 503, as it must
        for found in schema.get_all_operations():
            operation = found.ok()

            @settings(
                max_examples=EXAMPLES, deadline=None, database=None, derandomize=True,
                phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck),
            )  # fmt: skip
            @given(case=operation.as_strategy(generation_mode=mode))
            def call(case: Case) -> None:
                case.call_and_validate(headers=headers, checks=checks)

            nothing_to_forbid = Unsatisfiable if mode is GenerationMode.NEGATIVE else ()
            with contextlib.suppress(nothing_to_forbid):
                call()
                called.add(operation.label)

    assert len(called) >= (22 if mode is GenerationMode.POSITIVE else 12)
