"""What a process takes from the machine: resident memory and processor time, with the processes it started."""

from __future__ import annotations

from dataclasses import dataclass

import psutil


@dataclass(frozen=True, slots=True)
class Footprint:
    """One look."""

    rss_mb: float
    """Resident, in 10^6 bytes; pages shared with other processes count in full."""
    pss_mb: float | None
    """Resident, with shared pages counted in proportion; None where the kernel does not tell."""
    uss_mb: float
    """What would be free if it ended."""
    cpu_s: float
    """User and system time since it began."""

    @classmethod
    def of(cls, pid: int) -> Footprint:
        """Look at *pid* and its descendants."""
        root = psutil.Process(pid)
        looks = [
            (process.memory_full_info(), process.cpu_times()) for process in [root, *root.children(recursive=True)]
        ]
        pss = [state.pss for state, _ in looks if hasattr(state, "pss")]
        return cls(
            rss_mb=sum(state.rss for state, _ in looks) / 1e6,
            pss_mb=sum(pss) / 1e6 if pss else None,
            uss_mb=sum(state.uss for state, _ in looks) / 1e6,
            cpu_s=sum(times.user + times.system for _, times in looks),
        )

    def memory_words(self) -> str:
        """Say the finer measures of memory."""
        proportional = "" if self.pss_mb is None else f"proportional {self.pss_mb:.1f} MB, "
        return f"{proportional}of its own {self.uss_mb:.1f} MB"
