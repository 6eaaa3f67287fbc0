"""Libraries that abort when memory is refused: by their real last words the job comes back smaller, and by no others."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from cbi_queue.lifecycle import Outcome, Reason
from workers.trainer.ending import Seen, Settlement, classify_ending
from workers.trainer.last_output import LAST_BYTES, refused_memory

if TYPE_CHECKING:
    from pathlib import Path

POLARS_WITHOUT_MEMORY = """
import faulthandler, re, resource
from pathlib import Path
import polars as pl
faulthandler.enable()
mapped = int(re.search(r"VmData:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) << 10
resource.setrlimit(resource.RLIMIT_DATA, (mapped + (64 << 20), resource.RLIM_INFINITY))
print("begins", flush=True)
pl.DataFrame({"a": range(10)}).select(pl.repeat(1.5, 100_000_000)).sum()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux enforces RLIMIT_DATA")
def test_a_library_that_really_aborts_for_memory_is_understood(tmp_path: Path) -> None:
    """Polars, as the trainers use it, under a kernel limit."""
    log_path = tmp_path / "attempt.log"
    with log_path.open("wb") as log:
        done = subprocess.run([sys.executable, "-c", POLARS_WITHOUT_MEMORY], stdout=log, stderr=log, check=False)
    assert done.returncode == -signal.SIGABRT, log_path.read_text()

    ending = classify_ending(Seen(done.returncode, complete=False, memory_refused=refused_memory(log_path)))

    assert (ending.settlement, ending.outcome, ending.reason) == (
        Settlement.DOWNGRADE,
        Outcome.OOM,
        Reason.OUT_OF_MEMORY,
    )
    assert "bytes failed" in ending.words


@pytest.mark.parametrize(
    "words",
    [
        "terminate called after throwing an instance of 'std::bad_alloc'\n  what():  std::bad_alloc\n",
        "libc++abi: terminating due to uncaught exception of type std::bad_alloc: std::bad_alloc\n",
        "libc++abi: terminating with uncaught exception of type std::bad_alloc: std::bad_alloc\n",
        "memory allocation of 8388608 bytes failed\nstack backtrace:\n" + "a frame\n" * 2_000,
    ],
)
def test_other_libraries_words_are_known(tmp_path: Path, words: str) -> None:
    (tmp_path / "log").write_text("1/1 in 1.01 s\n" * 10_000 + words)
    assert refused_memory(tmp_path / "log") == words.splitlines()[0]


@pytest.mark.parametrize(
    "words",
    [
        "",
        "warning: memory allocation of 12 bytes failed, trying again\n",
        "terminate called after throwing an instance of 'std::runtime_error'\n",
        "memory allocation of 8388608 bytes failed\n" + "x" * LAST_BYTES,
    ],
)
def test_a_mere_mention_of_memory_is_no_refusal(tmp_path: Path, words: str) -> None:
    (tmp_path / "log").write_text(words)
    assert refused_memory(tmp_path / "log") is None
    assert refused_memory(tmp_path / "gone") is None


def test_an_abort_without_such_words_stays_an_error() -> None:
    """Nor does a word in the log make an out-of-memory of another ending."""
    assert classify_ending(Seen(-signal.SIGABRT, complete=False)).outcome is Outcome.ERROR
    assert classify_ending(Seen(1, complete=False, memory_refused="…")).outcome is Outcome.ERROR
