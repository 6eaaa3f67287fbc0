"""Whatever is given wrong, wherever: the answer is in our own words, never in those of a library; nothing is changed."""

from __future__ import annotations

import itertools
import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from cbi_queue.errors import CbiError
from cbi_queue.ledger import queries
from cbi_queue.models.catalogue import MODELS
from cbi_queue.settings import ENVIRONMENT, load_settings
from cbi_queue.spec import JobSpec, spec_faults

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.testclient import TestClient
    from support.api_installation import ApiInstallation

LIBRARY_WORDS = re.compile(
    r"Input should|Extra inputs|Field required|[Vv]alue_error|Value error|Assertion failed|type=|errors?\.pydantic|"
    r"validation error|Traceback|unable to (parse|interpret)|valid (integer|number|string|boolean|dictionary|list)|"
    r"set_int_max_str_digits|recursion depth|codec can't"
)
VALUES = [
    "many", "1:30", "0200", "1_000", "0x10", "12.0", '"12"', "yes", "on", "true", "null", "[]", "[1, two]", "{a: 1}",
    "-1", "1e400", ".nan", "9" * 31, "9" * 5000, "x" * 5000, "5\u00a0", "'5\u00a0'", "[[[1]]]", "&a [*a]", "[" * 3000,
    "!!int 3", "\ufeff1", "٣",
]  # fmt: skip


def ours(text: str) -> None:
    """Fail if *text* has words of a library."""
    assert (found := LIBRARY_WORDS.search(text)) is None, f"{found[0]!r} in {text[:600]}"


def content_of(site: ApiInstallation, name: str) -> tuple[Any, ...]:
    with site.ledger() as ledger:
        job = queries.find_job(ledger, name)
        return job.spec, job.priority, job.retries, job.timeout_s


def test_edit_refuses_what_a_plan_refuses_and_says_so(site: ApiInstallation, on_the_line) -> None:
    site.enqueue({"name": "net", "family": "simple_neural", "model": "feed_forward"})
    keys = ["params.epochs", "params.hidden", "params.seed", "params.learning_rate", "params.nope", "priority"]
    for key, value in itertools.product([*keys, "retries", "timeout", "timeout_s", "name", "nope", ""], VALUES):
        before = content_of(site, "net")
        code, said = on_the_line("edit", "net", f"{key}={value}")
        ours(said)
        if code == 0:
            assert value in {"null", "-1", "12.0"}, (key, value, said)
        else:
            assert content_of(site, "net") == before
            assert code == 2, (key, value, said)
            assert "net" in said or key in said


@pytest.mark.parametrize(
    "change",
    [
        "timeout_s=1:30", "timeout=10:00", "params.epochs=0200", "params.epochs=1_000", "params.epochs=0x10",
        "params.epochs=12.0", 'params.epochs="12"', "params.seed=yes", "params.seed=true", "retries=on", "retries=true",
    ],
)  # fmt: skip
def test_no_text_of_yaml_1_1_becomes_another_number(site: ApiInstallation, on_the_line, change: str) -> None:
    site.enqueue({"name": "net", "family": "simple_neural", "model": "feed_forward"})
    before = content_of(site, "net")
    code, said = on_the_line("edit", "net", change)
    assert (code, content_of(site, "net")) == (2, before)
    assert "is not allowed; allowed: " in said


def test_edit_prints_and_stores_what_a_plan_would_mean(site: ApiInstallation, on_the_line) -> None:
    site.enqueue({"name": "net", "family": "simple_neural", "model": "feed_forward"})
    code, said = on_the_line("edit", "net", "timeout=90s", "params.learning_rate=1e-3", "params.hidden=[32]")
    spec, _, _, timeout_s = content_of(site, "net")
    assert code == 0
    assert (timeout_s, spec["params"]["learning_rate"], spec["params"]["hidden"]) == (90.0, 0.001, [32])
    assert "timeout = 90s, params.learning_rate = 0.001, params.hidden = [32]" in said
    assert on_the_line("edit", "net", "retries=1", "retries=2")[0] == 2


def test_plans_of_wrong_values_are_refused_in_our_words(tmp_path: Path, on_the_line) -> None:
    keys = ["day", "title", "defaults", "jobs", "nope"]
    job_keys = ["name", "family", "model", "horizon", "backend", "params", "priority", "needs", "retries", "timeout"]
    path = tmp_path / "plan.yaml"
    for value in VALUES:
        jobs = [
            f"  - {{name: j, family: trees, model: xgboost_dart, horizon: 1w, {key}: {value}}}\n" for key in job_keys
        ]
        jobs += [f"  - {{name: p, family: trees, model: xgboost_dart, horizon: 1w, params: {{eta: {value}}}}}\n"]
        last = f"day: 1\njobs:\n{''.join(jobs)}"
        for text in (*(f"{key}: {value}\n" for key in keys), last):
            path.write_text(text, encoding="utf-8")
            code, said = on_the_line(*(("enqueue",) if text == last else ("plan", "check")), str(path))
            ours(said)
            assert code == 2, said


def test_settings_of_wrong_values_are_refused_in_our_words(site: ApiInstallation, tmp_path: Path) -> None:
    config = tmp_path / "wrong.toml"
    for value, (variable, name) in itertools.product(VALUES, ENVIRONMENT.items()):
        for environ, text in (
            ({variable: value}, ""),
            ({}, f"{name} = {value}"),
            ({}, f"{name} = {json.dumps(value)}"),
        ):
            config.write_text(text, encoding="utf-8")
            told = complaint_about({"CBI_CONFIG": str(config), "CBI_STATE_DIR": str(tmp_path), **environ})
            source = variable if variable in environ else str(config)
            assert told is None or source in told, "the complaint names where the value came from"
            ours(told or "")


def complaint_about(environ: dict[str, str]) -> str | None:
    """Return why settings are refused; None when they are not."""
    try:
        load_settings(environ)
    except CbiError as refused:
        return refused.message
    return None


BODIES = [
    "", "null", "[]", "{}", "1", '"x"', "{", "{'a': 1}", '{"nope": 1}', "9" * 5000, "[" * 3000, "\ufeff{}", "NaN",
    *(
        f'{{"{key}": {value}}}'
        for key in ("mode", "reason", "for_s", "all", "priority")
        for value in ("null", '"5"', '"yes"', "5.0", "true", "-1", "NaN", "1e400", "9" * 5000, "[]", "{}", '"\\ud800"')
    ),
]  # fmt: skip


def test_requests_of_wrong_values_are_answered_in_our_words(
    site: ApiInstallation, client: TestClient, bearer: dict[str, str]
) -> None:
    site.enqueue({"name": "a"})
    routes = ["pause", "resume", *(f"jobs/a/{verb}" for verb in ("priority", "hold", "release", "retry", "nope"))]
    for route, body, kind in itertools.product(routes, BODIES, ("application/json", "text/plain")):
        headers = {**bearer, "Content-Type": kind}
        answer = client.post(f"/api/v1/{route}", content=body.encode("utf-8", "replace"), headers=headers)
        ours(answer.text)
        assert answer.status_code < 500, (route, body, answer.text)
    queries_of = {"jobs": "state", "events": "after", "jobs/a/log": "tail", "jobs/a": "nope"}
    for (path, key), value in itertools.product(queries_of.items(), ["", "x", "1_0", "010", "1.5", "9" * 5000, "true"]):
        answer = client.get(f"/api/v1/{path}", params={key: value})
        ours(answer.text)
        assert answer.status_code == 422, (path, value, answer.text)


def test_no_text_becomes_a_number_in_a_request(
    site: ApiInstallation, client: TestClient, bearer: dict[str, str]
) -> None:
    site.enqueue({"name": "a"})
    for value in ("5", 5.5, True):
        answer = client.post("/api/v1/jobs/a/priority", json={"priority": value}, headers=bearer)
        assert answer.status_code == 422
        told = json.dumps(value) if isinstance(value, bool) else repr(value)
        assert answer.json()["detail"] == f"priority: {told} is not allowed; allowed: a whole number from -1000 to 1000"
    unknown = client.post("/api/v1/resume", json={"al": True}, headers=bearer).json()["detail"]
    assert unknown == "al: unknown key 'al' (did you mean 'all'?); allowed: all"


@pytest.mark.parametrize("model", sorted(MODELS))
def test_a_spec_that_a_trainer_cannot_read_is_told_in_our_words(model: str) -> None:
    """A runtime may have an older cbi-queue, which knows other parameters."""
    entry = MODELS[model]
    raw = {"day": 1, "name": "a", "family": entry.family, "model": model, "horizon": "1w"}
    wrong = [
        {"params": {"nope": 1}},
        {"params": 7},
        {"day": "x"},
        {"horizon": "9w"},
        {"nope": 1},
        {"backend": "abacus"},
    ]
    wrong += [{"params": {name: {"": {"b": {}}}}} for name in entry.params.model_fields]
    for change in wrong:
        with pytest.raises((ValidationError, TypeError)) as refused:
            JobSpec.model_validate({**raw, **change})
        assert isinstance(refused.value, ValidationError), change
        words = spec_faults(refused.value, {**raw, **change})
        ours(words)
        assert words
