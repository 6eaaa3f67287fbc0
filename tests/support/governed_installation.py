"""Help for tests of governed runs: scripts of sensor readings, nets that train for long, a wait for decisions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from support.installation import NET
from support.telemetry_rows import decisions_of
from support.waiting import STALLED_S, until

if TYPE_CHECKING:
    from cbi_queue.telemetry.governor_log import DecisionRow
    from support.installation import Installation

SHORT_NET = {**NET, "params": {**NET["params"], "epochs": 800, "patience": 800, "batch_size": 512}}
"""A net that trains some seconds, in short epochs."""
LONG_NET = {**NET, "params": {**NET["params"], "epochs": 10_000, "patience": 10_000, "batch_size": 512}}
"""A net that trains longer than any test; it is killed at the end of the test."""
COOL = {"thermal": {"level": "nominal", "temp_c": 45.0}}
HEAVY = {"thermal": {"level": "heavy", "temp_c": 95.0}}
TRAPPING = {"thermal": {"level": "trapping", "temp_c": 109.0}}
PAGING = {
    "memory": {
        "level": "warn",
        "total_mib": 16384.0,
        "available_mib": 900.0,
        "swap_out_mib_s": 40.0,
        "stall_share": 0.2,
    }
}
"""Readings of a machine that writes to swap all the time: the working set no longer fits."""
TIGHT = {"memory": {"level": "critical", "total_mib": 16384.0, "available_mib": 200.0}}
ROOMY = {"memory": {"level": "normal", "total_mib": 16384.0, "available_mib": 9000.0}}
SAID = {"age_s": 0.0, "source": "script"}
CALM_S = 0.5
"""Calm seconds of work before the script begins."""


def script(installation: Installation, *lines: tuple[float, dict[str, Any]]) -> None:
    """Have the sensors report *lines*, each (seconds since the trainer started, readings), and repeat the last.

    Until the trainer starts, all readings are calm: no job starts on a machine that is too hot or short of memory.
    """
    calm = {kind: reading for kind, reading in (COOL | ROOMY).items() if kind in lines[0][1]}
    lines = ((0.0, calm), *((t_s + CALM_S, readings) for t_s, readings in lines))
    path = installation.root / "sensors.jsonl"
    header = {"sensor_trace": 1, "period_s": 0.2, "starts": "work", "hold": True}
    filled = [
        {"t_s": t_s, **{kind: body if "unknown" in body else SAID | body for kind, body in readings.items()}}
        for t_s, readings in lines
    ]
    path.write_text("\n".join(json.dumps(line) for line in [header, *filled]) + "\n")
    installation.overrides["CBI_SENSORS_SCRIPT"] = str(path)


def until_decision(
    installation: Installation, action: str, *, upward: bool = False, within_s: float = STALLED_S
) -> DecisionRow:
    """Wait for a decision with this action and direction."""

    def look() -> DecisionRow | None:
        rows = decisions_of(installation.settings.telemetry_path)
        return next((row for row in rows if row.action == action and row.upward == upward), None)

    return until(look, f"the governor decides to {action}", within_s)
