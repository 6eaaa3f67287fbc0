"""What a trainer's environment holds: what programs and ML libraries read, and never all that the daemon was started with.

A shell often holds passwords and keys of other programs. A trainer runs models and plug-ins, and prints into a log.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

KEEP_FREED = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**33)}
"""Makes glibc's heap keep freed memory (bytes): blocks below 1 GiB, up to 8 GiB in all. By default it returns every
large tensor to the kernel and has the page faults again at the next step; `jobs.process.heap` returns the memory on a pause.
Other C libraries ignore these variables; values set by the user win."""
ARROW_HEAP = {"ARROW_DEFAULT_MEMORY_POOL": "system"}
"""Arrow takes memory from the C library's heap: its own allocator keeps 10 MB more, and no pause gives that back."""
NAMES = frozenset(
    {
        "PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "TZ", "TMPDIR", "TMP", "TEMP",
        "LANG", "LANGUAGE", "__CF_USER_TEXT_ENCODING", "LD_LIBRARY_PATH", "LD_PRELOAD", "GLIBC_TUNABLES",
    }
)  # fmt: skip
"""Variables that any program may need."""
PREFIXES = (
    "LC_", "XDG_", "DYLD_", "MALLOC_", "PYTHON", "CBI_",
    "OMP_", "KMP_", "GOMP_", "MKL_", "OPENBLAS_", "BLIS_", "VECLIB_", "NUMEXPR_", "NUMBA_", "POLARS_", "ARROW_",
    "CUDA_", "CUBLAS_", "CUDNN_", "NVIDIA_", "NCCL_", "TORCH", "PYTORCH_", "TRITON_", "ATEN_",
    "TF_", "XLA_", "KERAS_", "HF_", "MPS_", "METAL_", "MTL_",
)  # fmt: skip
"""Beginnings of the names that Python, its ML libraries and our own trainers read."""
SPINS = "500"
"""Turns that a waiting OpenMP thread looks again before it sleeps: microseconds, longer than most waits in one training step."""
SECRET = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY")
"""In the name of a variable that is not passed on, whatever it begins with, such as HF_TOKEN."""


def trainer_environment(threads: int, passed: Iterable[str] = ()) -> dict[str, str]:
    """Return the environment of a trainer, with limited thread counts.

    Two OpenMP processes that each take all cores run 15 to 30 times slower when their threads spin while they wait, and a net
    alone runs 2 to 5 times slower when they sleep at once. So they spin for a few microseconds (GNU's runtime), then sleep:
    `python -m benchmarks waiting-threads`. TensorFlow's wheel and what it needs link no OpenMP: there nothing reads this.

    Args:
        threads: that it may use.
        passed: names of further variables of ours that it gets, as the user chose.
    """
    count, chosen = str(threads), frozenset(passed)
    return {
        **KEEP_FREED,
        **ARROW_HEAP,
        **{name: value for name, value in os.environ.items() if name in chosen or _is_needed(name)},
        "OMP_NUM_THREADS": count,
        "OMP_WAIT_POLICY": "passive",
        "GOMP_SPINCOUNT": SPINS,
        "OPENBLAS_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "VECLIB_MAXIMUM_THREADS": count,
        "POLARS_MAX_THREADS": count,
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",
    }


def _is_needed(name: str) -> bool:
    return (name in NAMES or name.startswith(PREFIXES)) and not SECRET.search(name.upper())
