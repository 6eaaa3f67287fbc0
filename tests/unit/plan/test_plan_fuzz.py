"""Whatever a file holds, reading it ends quickly, in a plan or in complaints."""

from __future__ import annotations

import tempfile
import unicodedata
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.plan_files import M4

from cbi_queue.errors import PlanError
from cbi_queue.models.catalogue import MODELS
from cbi_queue.models.kinds import HORIZONS, Family
from cbi_queue.plan import read_plans

QUICKLY = settings(deadline=5_000, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
"""Milliseconds one reading may take. A plan takes 20; the rest is what a busy machine adds."""


def read(content: bytes) -> None:
    """Read *content* as a plan; only PlanError may come out, and every complaint must be fit for a terminal."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plan.yaml"
        path.write_bytes(content)
        complaints: tuple[str, ...] | None = None
        try:
            plans = read_plans([path], profile=M4, exports_dir=Path(folder), processed_dir=Path(folder))
        except PlanError as exc:
            complaints = exc.complaints
    if complaints is None:
        assert all(plan.jobs for plan in plans)
        return
    assert complaints
    for complaint in complaints:
        assert complaint.startswith(f"{path}")
        assert not {"Cc", "Cs", "Zl", "Zp"} & {unicodedata.category(character) for character in complaint}


YAML_BITS = st.sampled_from(
    ["day", "jobs", "name", "matrix", "params", ": ", "- ", "\n", "  ", "[", "]", "{", "}", ",", "'", '"', "&a", "*a",
     "!!int", "!x", "|", ">", "---", "...", "? ", "#", "%YAML 1.2", "%TAG ! x", "<<", "\t", "1", ".nan", "0x", "\\U",
     "\ufeff", "\x85", "é"]
)  # fmt: skip


@QUICKLY
@given(st.binary(max_size=300))
def test_arbitrary_bytes(content: bytes) -> None:
    read(content)


@QUICKLY
@given(st.text(max_size=300))
def test_arbitrary_text(content: str) -> None:
    read(content.encode("utf-8", "surrogatepass"))


@QUICKLY
@given(st.lists(YAML_BITS, max_size=60))
def test_shreds_of_yaml(bits: list[str]) -> None:
    read("".join(bits).encode())


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.dates()
    | st.sampled_from(HORIZONS)
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(max_size=8), below, max_size=4),
    max_leaves=12,
)
KEYS = st.sampled_from(
    [
        "name",
        "family",
        "model",
        "horizon",
        "backend",
        "params",
        "priority",
        "needs",
        "retries",
        "timeout",
        "matrix",
        "x",
    ]
)


DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
"""libyaml's, where it is built in: it is quicker, and what is written is not what is tested."""


def as_yaml(value: Any) -> bytes:
    """Write *value* as YAML."""
    return yaml.dump(value, Dumper=DUMPER, allow_unicode=True).encode("utf-8", "surrogatepass")


@QUICKLY
@given(st.dictionaries(st.sampled_from(["day", "title", "defaults", "jobs"]), VALUES))
def test_plans_of_any_shape(data: dict[str, Any]) -> None:
    read(as_yaml(data))


@QUICKLY
@given(st.lists(st.dictionaries(KEYS, VALUES), max_size=4), st.dictionaries(KEYS, VALUES))
def test_jobs_of_any_shape(jobs: list[dict[str, Any]], defaults: dict[str, Any]) -> None:
    read(as_yaml({"day": 1, "defaults": defaults, "jobs": jobs}))


NAMES = st.sampled_from(["a", "b", "c", "a-{horizon}", "{model}", "{seed}", "{x}", "A", "{"])
NEARLY = st.fixed_dictionaries(
    {"name": NAMES, "family": st.sampled_from(list(Family)).map(str)},
    optional={
        "model": st.sampled_from([*MODELS, "lightgbm"]),
        "horizon": st.sampled_from([*HORIZONS, "1x"]),
        "needs": st.lists(NAMES, max_size=3),
        "params": st.dictionaries(
            st.sampled_from(["seed", "batch_size", "sequence_length", "hidden", "lags"]), VALUES, max_size=3
        ),
        "timeout": st.sampled_from(["10m", 0, "x", 5]),
        "matrix": st.dictionaries(
            st.sampled_from(["horizon", "model", "params.seed", "params.batch_size", "params."]),
            st.lists(st.sampled_from([*HORIZONS, *MODELS, 1, 64, 65, None]), max_size=4),
            max_size=3,
        ),
    },
)


@QUICKLY
@given(st.lists(NEARLY, min_size=1, max_size=6))
def test_jobs_that_are_nearly_right(jobs: list[dict[str, Any]]) -> None:
    read(as_yaml({"day": 1, "jobs": jobs}))
