"""A command that cannot start is refused when it is written, not hours later in the slot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.plan_files import accept, refuse

from cbi_queue.plan.scripts import program_fault

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with scripts, one of them in a folder that is on the PATH, beside interpreters."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("python3", "bash", "node", "on-path.sh"):
        (programs / name).touch(0o755)
    (tmp_path / "train.py").touch()
    (tmp_path / "run.sh").touch(0o755)
    return tmp_path


def words(folder: Path, *command: str, is_first: bool = True) -> str | None:
    """What is said of *command* in *folder*."""
    fault = program_fault(list(command), folder, {"PATH": str(folder / "bin")}, is_first=is_first)
    assert fault is None or fault[0] == "command"
    return fault and fault[1]


SEEN = "; a path is seen from the workdir"


def test_a_script_that_is_not_there_is_told_with_the_nearest_name(folder: Path) -> None:
    meant = f"there is no script '{folder}/trian.py' (did you mean 'train.py'?){SEEN}"
    assert words(folder, "python3", "trian.py", "--lr", "1") == meant
    assert words(folder, "python3", "-uO", "-B", "trian.py") == meant
    assert words(folder, f"{folder}/bin/python3", "trian.py") == meant
    assert words(folder, "node", "sub/x.js") == f"there is no script '{folder}/sub/x.js'{SEEN}"
    assert (
        words(folder, "bash", "-eu", "rum.sh") == f"there is no script '{folder}/rum.sh' (did you mean 'run.sh'?){SEEN}"
    )
    assert words(folder, "./rum.sh") == f"there is no program '{folder}/rum.sh' (did you mean 'run.sh'?){SEEN}"
    assert "no program 'pyhton'" in str(words(folder, "pyhton", "train.py"))


@pytest.mark.parametrize(
    "command",
    [
        "python3 train.py", "python3 -u train.py trian.py", "python3", "python3 bin", "python3 -c trian.py",
        "python3 -m trian.py", "python3 -W x.py trian.py", "python3 - trian.py", "python3 trian", "bash on-path.sh",
        "bash -c rum.sh", "bash -o x.sh", "node -e x.js", "./run.sh rum.sh", f"python3 {'x' * 5000}.py",
    ],
    ids=lambda command: command[:30],
)  # fmt: skip
def test_what_starts_and_what_cannot_be_known_is_let_through(folder: Path, command: str) -> None:
    assert words(folder, *command.split()) is None


def test_files_that_a_job_before_it_may_write_are_not_missed(folder: Path) -> None:
    assert words(folder, "python3", "trian.py", is_first=False) is None
    assert words(folder, "./rum.sh", is_first=False) is None
    assert words(folder, "pyhton", "trian.py", is_first=False) is not None
    late = "- {name: late, family: script, command: [python3, late.py], %s: [first]}\n"
    first = "day: 0\njobs:\n- {name: first, family: script, command: [python3, train.py]}\n"
    for key in ("needs", "after"):
        accept(folder, first + late % key)
    assert "jobs[0].command: there is no script" in refuse(folder, first.replace("train", "trian"))[0]
