"""Which tests belong to a room: those that import from it, and those that drive it through processes; which files are long.

A room is a folder of the product, or a module at the root of `cbi_queue`: `jobs/data`, `governor`, `lifecycle`. The
prefix `cbi_queue/` may be left out, as in the folders of `tests/unit`.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
PACKAGES = ("cbi_queue", "jobs", "workers")

THROUGH_PROCESSES = {
    "acceptance": ("cli",),
    "browser": ("api",),
    "integration/test_as_a_mac.py": ("openmp", "workers/sensors", "jobs/boosting", "doctor"),
    "integration/test_benchmarks.py": ("workers/slot", "governor"),
    "integration/test_client_adapters.py": ("client", "client_adapters"),
    "integration/test_closed_streams.py": ("standard_streams", "slot_lock", "workers/trainer"),
    "integration/test_daemon.py": ("workers/slot", "workers/trainer", "huey_queue"),
    "integration/test_daemon_crashes.py": ("workers/recovery", "workers/slot", "jobs/training"),
    "integration/test_examples.py": ("jobs/script", "jobs/families", "client", "client_adapters", "cli/verbs"),
    "integration/test_export.py": ("vertex", "jobs/exporting", "jobs/families", "cli/verbs"),
    "integration/test_feature_streaming.py": ("jobs/data",),
    "integration/test_plan_page.py": ("api", "plan"),
    "integration/test_governed_runs.py": ("workers/governor", "governor"),
    "integration/test_heap.py": ("jobs/process",),
    "integration/test_interrupts.py": ("cli/verbs", "workers", "jobs", "models"),
    "integration/test_keras_backend.py": ("jobs/keras_backend",),
    "integration/test_last_words.py": ("jobs/process",),
    "integration/test_mcp_server.py": ("mcp_server", "cli/verbs"),
    "integration/test_mini_week.py": ("workers/slot", "workers/recovery", "jobs/families", "jobs/exporting"),
    "integration/test_notifications.py": ("workers", "cli/verbs", "notifications"),
    "integration/test_oom.py": ("workers/slot", "jobs/process"),
    "integration/test_planted_files.py": ("regular_files", "workers/trainer", "jobs/training", "jobs/data"),
    "integration/test_real_slowdowns.py": ("workers/governor", "governor"),
    "integration/test_regime_jobs.py": ("jobs/families", "jobs/results", "jobs/nets", "workers/slot"),
    "integration/test_results.py": ("jobs/results", "views", "cli/verbs"),
    "integration/test_sample_data.py": ("jobs", "cli/verbs"),
    "integration/test_script_jobs.py": (
        "jobs/script",
        "jobs/families",
        "workers/trainer",
        "workers/recovery",
        "cli/verbs",
    ),
    "integration/test_script_client.py": ("client",),
    "integration/test_script_reports.py": ("jobs/script", "jobs/families", "client", "workers/recovery"),
    "integration/test_script_results.py": ("jobs/script", "jobs/families", "datasets", "plan", "cli/verbs"),
    "integration/test_service.py": ("service", "cli/verbs"),
    "integration/test_session.py": ("jobs", "jobs/process"),
    "integration/test_simulated_week.py": ("governor", "replay"),
    "integration/test_storm.py": ("workers/recovery", "workers/slot", "jobs/training", "jobs/families"),
    "integration/test_torch_compiler.py": ("jobs/torch_backend",),
    "integration/test_unruly_trainers.py": ("workers/slot", "workers/trainer"),
    "integration/test_week_sweep.py": ("governor", "replay"),
    "integration/test_weighing.py": ("workers/governor",),
}
"""File or folder of tests -> rooms that its tests reach through a daemon, a trainer or a command, without an import."""

LONGEST = (
    "integration/test_benchmarks.py",
    "integration/test_governed_runs.py",
    "integration/test_daemon_crashes.py",
    "integration/test_daily_forecast.py",
    "integration/test_tracking.py",
    "integration/test_daemon.py",
    "integration/test_client_adapters.py",
    "integration/test_export.py",
    "integration/test_closed_streams.py",
    "integration/test_interrupts.py",
    "integration/test_as_a_mac.py",
    "integration/test_remembering.py",
    "integration/test_script_reports.py",
    "browser/test_journey.py",
    "unit/jobs/families/test_m3.py",
)
"""Files that take half a minute or more. Workers begin with them: with one that came last, the others would wait for it."""


def place_in_line(test_file: Path) -> int:
    """Return when a file begins, where workers share the files: a smaller number begins earlier."""
    place = test_file.relative_to(TESTS).as_posix()
    return LONGEST.index(place) if place in LONGEST else len(LONGEST)


@cache
def rooms() -> dict[str, Path]:
    """Every room by its name, with the folder or module that it is."""
    inits = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("__init__.py"))]
    folders = [path.parent for path in inits if path.parent != ROOT / "cbi_queue"]
    modules = [path for path in sorted((ROOT / "cbi_queue").glob("*.py")) if path.name != "__init__.py"]
    return {_name(path): path for path in [*folders, *modules]}


def room_named(name: str) -> str:
    """The room that a user means by *name*.

    Raises:
        ValueError: when there is none, with the list of those that there are.
    """
    found = name.strip("/").removeprefix("cbi_queue/").removesuffix(".py")
    if found not in rooms():
        raise ValueError(f"there is no room {name!r}; there are: {', '.join(sorted(rooms()))}")
    return found


def belongs(test_file: Path, room: str) -> bool:
    """Return True if the tests of *test_file* are about *room*."""
    relative = test_file.relative_to(TESTS).as_posix()
    if relative.startswith(f"unit/{room}/"):
        return True
    driven = [name for place, names in THROUGH_PROCESSES.items() if _is_in(relative, place) for name in names]
    return any(_is_in(name, room) for name in (*driven, *rooms_imported(test_file)))


@cache
def rooms_imported(test_file: Path) -> tuple[str, ...]:
    """The rooms that a file imports from, inside functions and for type checkers too."""
    tree = ast.parse(test_file.read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    froms = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    names |= {f"{node.module}.{alias.name}" for node in froms for alias in node.names}
    found = {_room_of(name) for name in names if name.partition(".")[0] in PACKAGES}
    return tuple(sorted(found - {None}))


def _room_of(module: str) -> str | None:
    """The innermost room that a module, or a name in one, lies in."""
    path = ROOT.joinpath(*module.split("."))
    return next(
        (_name(each) for each in (path, *path.parents) if each.is_relative_to(ROOT) and _name(each) in rooms()), None
    )


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix().removeprefix("cbi_queue/").removesuffix(".py")


def _is_in(inner: str, outer: str) -> bool:
    return inner == outer or inner.startswith(f"{outer}/")
