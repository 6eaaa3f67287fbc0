"""Day plans for tests: write YAML, read it, return the plan or the complaints without the folder's path."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING, Any

import pytest

from cbi_queue.errors import PlanError
from cbi_queue.hardware import PROFILES
from cbi_queue.plan import read_plans

if TYPE_CHECKING:
    from cbi_queue.spec import DayPlan

M4 = replace(PROFILES["m4-16gb"])
SCHEDULES = Path(__file__).parents[2] / "schedules"


def write(folder: Path, text: str, name: str = "plan.yaml") -> Path:
    """Write *text*, dedented, and return its path."""
    path = folder / name
    path.write_text(dedent(text), encoding="utf-8")
    return path


def accept(folder: Path, *texts: str, **around: Any) -> list[DayPlan]:
    """Read *texts* as one file each (plan.yaml, plan2.yaml, …) and return the plans."""
    return read_plans(_paths(folder, texts), profile=around.pop("profile", M4), **around)


def jobs(folder: Path, text: str, **around: Any) -> dict[str, Any]:
    """Read one plan; return its jobs by name."""
    (plan,) = accept(folder, text, **around)
    return {job.name: job for job in plan.jobs}


def refuse(folder: Path, *texts: str, **around: Any) -> list[str]:
    """Read *texts* and return the complaints about them."""
    with pytest.raises(PlanError) as caught:
        accept(folder, *texts, **around)
    return [complaint.replace(f"{folder}/", "") for complaint in caught.value.complaints]


def refuse_bytes(folder: Path, content: bytes) -> list[str]:
    """Read raw *content* as plan.yaml and return the complaints about it."""
    path = folder / "plan.yaml"
    path.write_bytes(content)
    with pytest.raises(PlanError) as caught:
        read_plans([path], profile=M4)
    return [complaint.replace(f"{folder}/", "") for complaint in caught.value.complaints]


def _paths(folder: Path, texts: tuple[str, ...]) -> list[Path]:
    return [write(folder, text, f"plan{i or ''}.yaml") for i, text in enumerate(texts)]
