"""The tutorial of docs/own-data.md followed word for word."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from support.own_csv import write_own_csv

ROOT = Path(__file__).parents[2]


def blocks(page: str) -> list[tuple[str, list[str]]]:
    """Each command after a `$` in the page's console blocks, with the lines shown below it."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(
        r"^```console\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    ):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


def typed(installation, command: str) -> str:
    """Run *command* in a shell, in the folder of the user, on a screen of 80 columns; return what it printed."""
    environ = installation.environ
    environ |= {"PATH": f"{Path(sys.executable).parent}:{environ['PATH']}", "COLUMNS": "80", "PYTHONUTF8": "1"}
    done = subprocess.run(
        ["bash", "-c", command],
        check=False,
        cwd=installation.root,
        env=environ,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_the_tutorial_of_own_data(installation):
    """Five commands from a CSV to a board and a forecast; every line shown that no machine changes is printed."""
    steps = blocks("docs/own-data.md")
    write_own_csv(installation.root / "zl.csv")

    printed = {command: typed(installation, command) for command, _ in steps}

    assert len(printed) == 5
    imported, _, trained, board, forecast = steps
    for line in imported[1]:
        assert line in printed[imported[0]] or line.startswith("Imported: "), line
    assert len(re.findall(r"  finish +zl-", printed[trained[0]])) == 7
    names = set(re.findall(r"zl-\w+-1m", "\n".join(board[1])))
    assert names == {f"zl-{model}-1m" for model in ("naive", "drift", "ets", "lightgbm", "xgboost", "net")}
    assert "Horizon 1m zl walk-forward" in printed[board[0]]
    assert "told apart from naive" in printed[board[0]]
    assert names <= set(re.findall(r"zl-\w+-1m", printed[board[0]]))
    for line in forecast[1]:
        if not line.startswith("…"):
            assert masked(line) in masked(printed[forecast[0]]), line
    assert re.search(
        r"Forecast for 2019-02-0\d: [\d.]+ \([+-][\d.]+ % from 46\.92 on 2019-01-03\)", printed[forecast[0]]
    )
    assert len(re.findall(r"  (?:80|95) % interval: [\d.]+ to [\d.]+", printed[forecast[0]])) == 2


def masked(text: str) -> str:
    """Figures of training may differ in their last digits between machines."""
    return re.sub(r"[\d.]+|[+-](?=[\d.])", "#", re.sub(r"\s+", " ", text))


def test_no_plan_is_written_for_a_data_set_that_is_not_there(installation):
    assert "there is no data set 'zl'" in installation.cli("plan", "new", "--dataset", "zl", code=2)
    assert "',' names none; allowed: 1w" in installation.cli("plan", "new", "--horizons", ",", code=2)


def test_the_tutorial_of_a_script(installation):
    """A script of the page, queued, trained and compared by the commands of the page."""
    page = (ROOT / "docs/own-script.md").read_text(encoding="utf-8")
    (installation.root / "train.py").write_text(re.search(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)[1])
    steps = blocks("docs/own-script.md")[:4]  # what follows is of another project
    assert steps[-1][0].startswith("cbi-queue leaderboard")
    for command, shown in steps:
        printed = typed(installation, command)
        for line in shown:
            assert line == "…" or masked(line) in masked(printed), (command, printed)
    assert f"Project {installation.root.name}" in printed
    assert "mine  0.0037138" in printed
