"""The profile of this machine: detected, or named by the user. Read-only.

Detection reads a few small files and, with an NVIDIA card, calls its tool once. It runs when a profile is first needed, and the
process keeps the result.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cbi_queue.hardware.machine import (
    SYSCTL_NAMES,
    Machine,
    cards_mib,
    choose,
    limit_files,
    limit_mib,
    mac_from,
    total_mib,
)
from cbi_queue.hardware.profiles import profile_named

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cbi_queue.hardware.profile import HardwareProfile

AUTO = "auto"
"""The profile setting that means: detect it."""
TOOL_TIMEOUT_S = 5.0
"""Seconds for `sysctl` or `nvidia-smi` to answer; a card that hangs must not hang the queue."""


@dataclass(frozen=True, slots=True)
class ChosenProfile:
    """A profile, fitted to this machine, and why it is that one."""

    profile: HardwareProfile
    why: str


def profile_for(name: str, user_folder: Path | None = None) -> ChosenProfile:
    """Return the profile called *name*, or the one that suits this machine for `auto`, with the machine's figures.

    Args:
        name: of a shipped or own profile, or `AUTO`.
        user_folder: the folder of the user's own profiles.

    Raises:
        SettingsError: when there is no such profile, or its file cannot be used.
    """
    machine = this_machine()
    choice = choose(machine)
    chosen = choice.name if name == AUTO else name
    why = f"detected: {choice.why}" if name == AUTO else "as set"
    profile = profile_named(chosen, user_folder)
    return ChosenProfile(profile.fitted(machine.memory_mib, machine.accelerator_mib), why)


@functools.cache
def this_machine() -> Machine:
    """Return the facts about this machine; read once."""
    if sys.platform == "darwin":  # pragma: no cover - macOS only
        return mac_from(_answer(["/usr/sbin/sysctl", *SYSCTL_NAMES]))
    machine = Machine(system=sys.platform)
    if sys.platform == "linux":
        machine = _linux()
    return machine


def _linux() -> Machine:
    total = total_mib(_text("/proc/meminfo"))
    limits = [limit_mib(_text(file)) for file in limit_files(_text("/proc/self/cgroup"))]
    least = min((limit for limit in limits if limit is not None), default=None)
    limited = least is not None and (total is None or least < total)
    machine = Machine(system="linux", memory_mib=least if limited else total, limited=limited)
    if not _has_nvidia():
        return machine
    query = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    return replace(machine, has_nvidia=True, accelerator_mib=cards_mib(_answer(query)))


def _has_nvidia() -> bool:
    """Return True if this machine has a card: a driver alone may belong to the host of a container."""
    if any(Path("/dev").glob("nvidia[0-9]*")):
        return True
    return Path("/dev/dxg").exists() and shutil.which("nvidia-smi") is not None


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _answer(command: Sequence[str]) -> str:
    """Return what *command* prints; nothing when it is missing, fails or does not answer."""
    try:
        return subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=TOOL_TIMEOUT_S, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
