"""`cbi-queue governor replay`: what the governor would detect and do in recorded trainings."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING

import click

from cbi_queue.cli.arguments import examples, json_option
from cbi_queue.cli.output import print_table, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cbi_queue.governor.values import Decision
    from cbi_queue.replay.replay import Alarm, Replay

BLOCKS = "▁▂▃▄▅▆▇█"
PICTURE_COLUMNS = 48
"""Width of the picture of a trace, whatever its length."""
TALLEST = 2.5
"""Factor over the trace's typical cost at which a block is full."""
_trace_files = click.Path(path_type=Path, dir_okay=False)


@click.command(
    epilog=examples(
        "governor replay traces/*.jsonl",
        "governor replay --json run.jsonl --baselines earlier.jsonl | jq .factor",
        more="Exit codes: 0 replayed, 2 a file was refused and nothing was replayed.",
    )
)
@click.argument("files", nargs=-1, required=True, type=_trace_files)
@click.option(
    "--baselines",
    "others",
    multiple=True,
    type=_trace_files,
    help="Another trace of the same model, used only for its cold cost. May be given several times.",
)
@json_option
def command(files: tuple[Path, ...], others: tuple[Path, ...], as_json: bool) -> None:
    """Replay recorded epoch times through the governor.

    Prints each slow-down that it detects, and what it would do. With several FILES, each is compared with the cold cost
    of the other traces of its model, as a run is with its stored baseline. A single trace is treated as the first run
    of its model. --json prints the slow-downs only, one object per line.
    """
    from cbi_queue.replay.replay import read_traces, replay

    replays = replay(read_traces(files), read_traces(others))
    if as_json:
        for one in replays:
            for alarm in one.alarms:
                click.echo(json.dumps(_as_json(alarm), allow_nan=False))
        return
    print_table("", ("trace", "model", ">start", ">seen", ">end", ">factor", "cause", "words"), _rows(replays))


def _as_json(alarm: Alarm) -> dict[str, object]:
    return {
        "trace": alarm.trace,
        "start_epoch": alarm.start_epoch,
        "detected_epoch": alarm.detected_epoch,
        "end_epoch": alarm.end_epoch,
        "factor": round(alarm.factor, 3),
        "cause": str(alarm.cause),
        "confidence": round(alarm.confidence, 3),
        "in_hindsight": alarm.in_hindsight,
    }


def _rows(replays: Sequence[Replay]) -> list[tuple[str, ...]]:
    from cbi_queue.hardware.thresholds import Thresholds
    from cbi_queue.replay.replay import steps

    rows: list[tuple[str, ...]] = []
    thresholds = Thresholds()
    for one in replays:
        rows.append((one.trace.name, one.trace.model, "", "", "", "", "", _picture(one)))
        rows.extend(_row(alarm) for alarm in one.alarms)
        rows.extend(_step_row(one, decision) for decision in steps(one, thresholds))
    return rows


def _step_row(one: Replay, decision: Decision) -> tuple[str, ...]:
    epoch = next(work.epoch for work in one.trace.work if work.at_s >= decision.at_s)
    return ("", "", "", str(epoch), "", "", str(decision.cause), f"would {decision.action}: {decision.words}")


def _row(alarm: Alarm) -> tuple[str, ...]:
    end = "lasts" if alarm.end_epoch is None else str(alarm.end_epoch)
    seen = ("in hindsight",) if alarm.in_hindsight else ()
    words = "; ".join((*seen, f"confidence {alarm.confidence:.2f}", *map(printable, alarm.evidence)))
    return (
        "", "", str(alarm.start_epoch), str(alarm.detected_epoch), end, f"{alarm.factor:.2f}", str(alarm.cause), words,
    )  # fmt: skip


def _picture(one: Replay) -> str:
    """Draw seconds per sample over the trace; each block is the mean of its part, the lowest the cold cost."""
    costs = [_relative(one, index) for index in range(len(one.trace.work))]
    cells = min(PICTURE_COLUMNS, len(costs))
    parts = [costs[cell * len(costs) // cells : (cell + 1) * len(costs) // cells] for cell in range(cells)]
    return "".join(BLOCKS[_height(fmean(part))] for part in parts)


def _height(factor: float) -> int:
    return max(0, min(len(BLOCKS) - 1, round((factor - 1.0) / (TALLEST - 1.0) * (len(BLOCKS) - 1))))


def _relative(one: Replay, index: int) -> float:
    work = one.trace.work[index]
    cold = one.cold.get(work.micro_batch)
    if cold is not None:
        return work.seconds_per_sample / cold.seconds_per_sample
    same = [other.seconds_per_sample for other in one.trace.work if other.micro_batch == work.micro_batch]
    return work.seconds_per_sample / median(same)
