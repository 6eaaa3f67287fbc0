"""Write what README.md, `docs/own-data.md` and `docs/forecasting.md` show of the command line: boards, an import, a forecast.

`python docs/make_boards.py --folder DIR` follows the three walks of these pages as a user types them, two minutes of a
quiet core. DIR keeps the queues, the runs and what the walks printed: what has ended is not done again, and a new DIR does
all anew. A test holds the kind of what is shown current.
"""

# ruff: noqa: INP001 - a script, not a package

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.report import write_markdown

ROOT = Path(__file__).parents[1]
QUICKSTART = "schedules/quickstart.yaml"
FORECAST = "cbi-queue show zl-lightgbm-1m"
WALKS = {
    "README.md": (
        "cbi-queue data sample",
        "cbi-queue plan new --horizons 1m > my-plan.yaml",
        "cbi-queue run my-plan.yaml",
    ),
    "docs/own-data.md": (
        f"python {ROOT / 'tests/support/own_csv.py'} zl.csv 2600",
        "cbi-queue data import zl.csv --dataset zl --missing-price drop --yes",
        "cbi-queue plan new --dataset zl --horizons 1m > zl.yaml",
        "cbi-queue run zl.yaml",
    ),
    "docs/forecasting.md": ("cbi-queue data sample", f"cbi-queue run {ROOT / QUICKSTART}"),
}
"""Page -> what is typed before the board is shown."""
BOARD = "cbi-queue leaderboard --horizon 1m"


def typed(folder: Path, command: str) -> str:
    """Run *command* in a shell with a queue of its own below *folder*; return what it printed, without blanks at line ends."""
    folder.mkdir(parents=True, exist_ok=True)
    own = {"CBI_STATE_DIR": str(folder / "state"), "CBI_V14_REPO": str(folder / "repo"), "PYTHONUTF8": "1"}
    (folder / "repo").mkdir(exist_ok=True)
    outside = {name: value for name, value in os.environ.items() if not name.startswith("CBI_")}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    print(f"$ {command}", flush=True)
    done = subprocess.run(
        ["bash", "-c", command], check=True, cwd=folder, env={**outside, **own, "PATH": path, "COLUMNS": "80"},
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    said = done.stdout.replace(str(folder / "repo"), "…")
    return "\n".join(line.rstrip() for line in said.strip().splitlines())


def done_once(folder: Path, number: int, command: str) -> str:
    """Run step *number* of a walk unless it succeeded before; return what it printed then."""
    kept = folder / f"step-{number}.txt"
    if not kept.exists():
        kept.write_text(typed(folder, command))
    return kept.read_text()


def shortened(shown: str) -> str:
    """Keep the head of `show` and the forecast."""
    lines = shown.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("Forecast for "))
    return "\n".join([*lines[:2], "…", *lines[start : start + 3], "…"])


def main() -> None:
    """Train what is missing and write the samples."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="keeps the queues and the runs")
    folder = parser.parse_args().folder.resolve()
    for page, walk in WALKS.items():
        place = folder / Path(page).stem
        said = {command: done_once(place, number, command) for number, command in enumerate(walk)}
        board = typed(place, BOARD)
        samples = {"board": f"```text\n{board}\n```\n"}
        if page == "docs/own-data.md":
            importing, forecast = walk[1], shortened(typed(place, FORECAST))
            samples = {
                "import": f"```console\n$ {importing}\n{said[importing]}\n```\n",
                "board": f"```console\n$ cbi-queue leaderboard\n{board}\n```\n",
                "forecast": f"```console\n$ {FORECAST}\n{forecast}\n```\n",
            }
        for mark, sample in samples.items():
            write_markdown(ROOT / page, sample, mark)


if __name__ == "__main__":
    main()
