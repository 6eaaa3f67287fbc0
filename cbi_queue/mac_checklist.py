"""The first checks for a person with a Mac: what to type, what should happen, and what can be looked at without them.

Nothing of this project has run on a Mac. Changes nothing; `write` makes one file without names of people, machines or disks.
"""

from __future__ import annotations

import getpass
import os
import platform
import re
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cbi_queue import __version__, clock
from cbi_queue.disk_access import why_refused
from cbi_queue.errors import CbiError, Refused
from cbi_queue.openmp import openmp_of
from cbi_queue.programs import run
from cbi_queue.regular_files import plain_words
from cbi_queue.runtimes.probing import import_errors
from cbi_queue.service.launchd import label_of, parse_print
from cbi_queue.views.sensors import read_sensors

if TYPE_CHECKING:
    from collections.abc import Callable

    from cbi_queue.settings import Settings

BY_HAND = "to be done by hand; write here what you saw:"
TORCH_TIMEOUT_S = 120.0
FIELDS = ("state", "runs", "last exit code", "spawn type", "exit timeout", "jetsam priority")
_ON_METAL = """
import torch
from jobs.torch_backend.device import computes
print(f"torch {torch.__version__}, MPS is available: {torch.backends.mps.is_available()}, computes rightly: {computes('mps')}")
"""


@dataclass(frozen=True, slots=True)
class Check:
    """One check."""

    title: str
    commands: tuple[str, ...]
    expected: str
    look: Callable[[Settings], str] | None = None
    """Looks at what can be seen without a person; None: only by hand."""


@dataclass(frozen=True, slots=True)
class Checked:
    """One check with what was seen."""

    number: int
    check: Check
    seen: str


def run_checks(settings: Settings, *, is_mac: bool) -> list[Checked]:
    """Do what can be done without a person; on another machine, nothing."""
    return [Checked(number, check, _seen(check, settings, is_mac=is_mac)) for number, check in enumerate(CHECKS, 1)]


def write(checked: list[Checked], folder: Path) -> Path:
    """Write the results into a new file of *folder*, to be completed by hand and handed back.

    Raises:
        Refused: when the file cannot be written.
    """
    path = folder / f"cbi-queue-mac-checklist-{clock.utc_now():%Y%m%d-%H%M%S}.txt"
    parts = [_machine(), *(_as_text(each) for each in checked)]
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(without_names("\n\n".join(parts)) + "\n")
    except OSError as exc:
        raise Refused(f"cannot write {path}: {exc.strerror}", hint="run it in a folder that you may write to") from exc
    return path


def without_names(text: str) -> str:
    """Return *text* without the home folder, the names of user, machine and disks."""
    text = text.replace(str(Path.home()), "~")
    text = re.sub(r"/Volumes/[^/\n:;,]+", "/Volumes/DISK", text)
    host = socket.gethostname()
    for name, instead in ((host, "HOST"), (host.partition(".")[0], "HOST"), (_user(), "USER")):
        if len(name) > 1:
            text = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", instead, text)
    return text


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""


def _seen(check: Check, settings: Settings, *, is_mac: bool) -> str:
    if not is_mac:
        return "not run: this is not a Mac"
    if check.look is None:
        return BY_HAND
    try:
        return check.look(settings)
    except (CbiError, OSError) as exc:
        return f"could not be looked at: {plain_words(exc)}"


def _as_text(checked: Checked) -> str:
    check = checked.check
    typed = "\n".join(f"   $ {command}" for command in check.commands)
    seen = "\n".join(f"      {line}" for line in checked.seen.splitlines())
    return f"{checked.number}. {check.title}\n{typed}\n   expected: {check.expected}\n   seen:\n{seen}"


def _machine() -> str:
    facts = [
        f"cbi-queue {__version__}",
        f"macOS {_output('/usr/bin/sw_vers', '-productVersion')}",
        _output("/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string", "hw.memsize", "hw.model"),
        f"Python {sys.version.split()[0]}, {platform.machine()}, {os.path.realpath(sys.executable)}",
    ]
    return "\n".join(facts)


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=10.0, check=False)
    except (OSError, subprocess.TimeoutExpired) as exc:
        return f"({command[0]}: {type(exc).__name__})"
    return ", ".join(done.stdout.split("\n")).strip(", ")


def _openmp(_settings: Settings) -> str:
    errors = import_errors(sys.executable, ("lightgbm", "xgboost"))
    lines = [f"the OpenMP library that they get: {openmp_of(sys.executable) or 'none was found'}"]
    lines += [f"{name}: {errors.get(name, 'imports')}" for name in ("lightgbm", "xgboost")]
    return "\n".join(lines)


def _sensors(_settings: Settings) -> str:
    rows = read_sensors(os.getpid())
    return "\n".join(f"{row.kind}, {row.sensor}: {row.words} ({row.trust or 'unknown'}, {row.source})" for row in rows)


def _metal(settings: Settings) -> str:
    command = [settings.interpreter_for("torch"), "-P", "-c", _ON_METAL]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TORCH_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return f"no answer within {TORCH_TIMEOUT_S:.0f} s"
    return done.stdout.strip() or "\n".join(done.stderr.strip().splitlines()[-3:]) or f"it ended with {done.returncode}"


def _service(_settings: Settings) -> str:
    answer = run(("launchctl", "print", f"gui/{os.getuid()}/{label_of('worker')}"))
    if answer.code != 0:
        return f"{answer.words} (code {answer.code})"
    fields = parse_print(answer.text)
    return "\n".join(f"{name} = {fields.get(name, 'not printed')}" for name in FIELDS)


def _data(settings: Settings) -> str:
    return f"from this terminal: {why_refused(settings) or 'the data folders can be opened, written and read'}"


def _awake(_settings: Settings) -> str:
    held = _output("/usr/bin/pmset", "-g", "assertions").count("caffeinate")
    return f"lines of pmset that name caffeinate: {held}\n{BY_HAND}"


CHECKS: tuple[Check, ...] = (
    Check(
        "LightGBM and XGBoost find OpenMP",
        ("brew list libomp", "python -c 'import lightgbm'", "python -c 'import xgboost'"),
        "both import after `brew install libomp`. Before it they fail by themselves, and whether torch's copy serves is "
        "what this check finds out",
        _openmp,
    ),
    Check("The demo", ("make demo",), "ends with the story of a governed run, exit code 0, with and without libomp"),
    Check(
        "Every sensor answers",
        ("cbi-queue sensors show --pid $$", "footprint $$"),
        "nothing is unknown but macmon, where it is not installed; the footprint is that of the second command",
        _sensors,
    ),
    Check(
        "The GPU computes",
        ("python -c 'from jobs.torch_backend.device import computes; print(computes(\"mps\"))'",),
        "MPS is available and computes rightly",
        _metal,
    ),
    Check(
        "The thermal level moves",
        (
            "sudo thermal simulate cpu heavy",
            "sleep 5; cbi-queue sensors show",
            "sudo thermal simulate cpu nominal",
        ),
        "thermal: heavy, firm; the note of `cbi-queue doctor` about this level is gone afterwards",
    ),
    Check(
        "The memory level moves",
        ("sudo memory_pressure -S -l warn & sleep 5; cbi-queue sensors show", "sudo killall memory_pressure"),
        "memory: warn",
    ),
    Check(
        "A net trains on the GPU",
        ("cbi-queue run schedules/quickstart.yaml", "cbi-queue show quick-lstm-1m"),
        "device mps, or a note with the figures by which the GPU was refused",
    ),
    Check(
        "launchd runs the worker",
        ("cbi-queue service install", "sleep 15; cbi-queue service status"),
        "state = running, spawn type = interactive (4), exit timeout = 60; no agent under Login Items is off",
        _service,
    ),
    Check(
        "An external disk under launchd",
        (
            "EXTERNAL_DRIVE=/Volumes/NAME cbi-queue service install",
            "cbi-queue enqueue my-plan.yaml",
            "cbi-queue status",
        ),
        "the job trains; or the hold `volume` with the sentence about Full Disk Access, the job still has its retries, "
        "and it starts by itself after the permission was given",
        _data,
    ),
    Check(
        "A killed daemon comes back, one keeps the Mac awake",
        (
            "kill -9 $(cbi-queue service status --json | python -c 'import json,sys; print(json.load(sys.stdin)[0][\"pid\"])')",
            "sleep 20; cbi-queue status",
            "pmset -g assertions",
        ),
        "the job in the slot goes on from its checkpoint; exactly one assertion is caffeinate's",
        _awake,
    ),
)
