"""A plan with a model whose optional package is absent: told by `plan check`, refused by `enqueue`, before anything is claimed."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import pytest
from support.api_installation import ApiInstallation
from support.plan_files import M4

from cbi_queue.cli.verbs.enqueue import without_runtime
from cbi_queue.plan import read_plans
from cbi_queue.runtimes import place

if TYPE_CHECKING:
    from pathlib import Path

PLAN = """
day: 1
jobs:
  - {name: features-1w, family: features, horizon: 1w}
  - {name: prophet-1w, family: statistical, model: prophet, horizon: 1w, needs: [features-1w]}
"""


def complaints(tmp_path: Path) -> list[str]:
    (tmp_path / "plan.yaml").write_text(PLAN)
    return without_runtime(ApiInstallation(tmp_path).settings, read_plans([tmp_path / "plan.yaml"], profile=M4))


def test_a_plan_with_prophet_is_refused_where_it_is_not_installed(tmp_path, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "prophet" else found(name))

    (words,) = complaints(tmp_path)

    assert "prophet-1w needs the package prophet, which is not installed; run `" in words
    assert "-m pip install 'cbi-queue[prophet]'`, or leave the model out" in words


def test_another_python_is_asked_and_silence_is_no_refusal(monkeypatch):
    asked = []
    monkeypatch.setattr(
        place, "probe_runtime", lambda python, names: asked.append((python, names)) or (["prophet"], "")
    )
    assert place.absent_extras("/opt/python", ["prophet", "prophet"]) == ["prophet"]
    assert asked == [("/opt/python", ["prophet"])]

    monkeypatch.setattr(place, "probe_runtime", lambda _python, _names: None)
    assert place.absent_extras("/opt/python", ["prophet"]) == []
    assert place.absent_extras("/opt/python", []) == []


def test_where_it_is_installed_nothing_is_said(tmp_path):
    pytest.importorskip("prophet")
    assert complaints(tmp_path) == []
