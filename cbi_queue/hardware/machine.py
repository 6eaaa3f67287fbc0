"""The facts about the machine, parsed from the system's texts, and the profile that suits it. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import takewhile

SYSCTL_NAMES = ("hw.model", "machdep.cpu.brand_string", "hw.memsize")
"""What to ask `sysctl` for on macOS."""
_GIB = 1024.0
_NO_LIMIT_MIB = float(2**40)
"""A control group of the first version without a limit reports 2^63 bytes, less a page: anything above this is no limit."""


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine; None: could not be read."""

    system: str
    """darwin | linux | another name that Python gives."""
    chip: str | None = None
    """ "Apple M4", "Apple M1 Max"; macOS only."""
    model: str | None = None
    """ "Mac16,10"; macOS only."""
    memory_mib: float | None = None
    """Memory of the machine or, when that is less, what its control group allows."""
    limited: bool = False
    """True when the control group is what limits it."""
    has_nvidia: bool = False
    accelerator_mib: float | None = None
    """Memory of the (smallest) NVIDIA card."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The name of a profile, and why it is that one."""

    name: str
    why: str


def choose(machine: Machine) -> Choice:
    """Return the profile that suits *machine*. A Mac without its own profile gets the strictest that its memory allows."""
    seen = _in_words(machine)
    if machine.system == "darwin":
        return _choose_mac(machine, seen)
    if machine.has_nvidia:
        return Choice("cuda", f"{seen} with an NVIDIA card")
    return Choice("linux-cpu", f"{seen} without an NVIDIA card")


def _choose_mac(machine: Machine, seen: str) -> Choice:
    chip, memory_gib = machine.chip or "", (machine.memory_mib or 0.0) / _GIB
    if chip == "Apple M1 Max" and memory_gib >= 32:
        return Choice("m1max-32gb", seen)
    name = "m4-32gb" if memory_gib >= 32 else "m4-24gb" if memory_gib >= 24 else "m4-16gb"
    if chip.startswith("Apple M4") and memory_gib >= 16:
        return Choice(name, seen)
    return Choice(
        name, f"{seen}: no profile is made for it; this one is the nearest by memory, and you can write your own"
    )


def _in_words(machine: Machine) -> str:
    memory = "memory unknown" if machine.memory_mib is None else f"{machine.memory_mib / _GIB:.1f} GiB"
    limited = " allowed by its control group" if machine.limited else ""
    name = " ".join(part for part in (machine.chip, f"({machine.model})" if machine.model else None) if part)
    return f"{name or machine.system}, {memory}{limited}"


def mac_from(sysctl: str) -> Machine:
    """Read the output of `sysctl` for `SYSCTL_NAMES`: lines of `name: value`, in any order, some perhaps missing."""
    values = dict(re.findall(r"^([\w.]+): (.*)$", sysctl, flags=re.MULTILINE))
    size = values.get("hw.memsize", "").strip()
    return Machine(
        system="darwin",
        chip=values.get("machdep.cpu.brand_string", "").strip() or None,
        model=values.get("hw.model", "").strip() or None,
        memory_mib=int(size) / 2**20 if size.isdigit() and int(size) >= 2**30 else None,
    )


def total_mib(meminfo: str) -> float | None:
    """Read `MemTotal` out of /proc/meminfo."""
    found = re.search(r"^MemTotal:\s+(\d+) kB$", meminfo, flags=re.MULTILINE)
    return int(found[1]) / 1024 if found and int(found[1]) else None


def limit_files(cgroup: str) -> list[str]:
    """Name the files that may limit the memory of a process, from the text of its /proc/self/cgroup.

    Both versions of control groups: of the second the whole way up, because each level may be the narrowest; of the
    first its own group and the root of what a container sees.
    """
    files = []
    for line in cgroup.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        levels = [level for level in path.split("/") if level]
        ways = ["/".join(levels[:depth]) for depth in range(len(levels), -1, -1)]
        if number == "0":
            files += [f"/sys/fs/cgroup/{way}/memory.max".replace("//", "/") for way in ways]
        elif "memory" in controllers.split(","):
            files += [f"/sys/fs/cgroup/memory/{way}/memory.limit_in_bytes".replace("//", "/") for way in ways]
    return files


def limit_mib(text: str) -> float | None:
    """Read one such file: bytes, or `max` for no limit."""
    digits = "".join(takewhile(str.isdigit, text.strip()))
    mib = int(digits) / 2**20 if digits else 0.0
    return mib if 0 < mib < _NO_LIMIT_MIB else None


def cards_mib(nvidia_smi: str) -> float | None:
    """Read `nvidia-smi --query-gpu=memory.total --format=csv,noheader,nounits`: MiB of the smallest card."""
    sizes = [float(line) for line in nvidia_smi.splitlines() if line.strip().isdigit() and int(line) > 0]
    return min(sizes, default=None)
