"""Import a library of trees, or fail the job at once with the remedy: a retry would fail the same way."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cbi_queue.lean_imports import UNUSED_BY_TREES, without
from cbi_queue.models.catalogue import has_outside_code
from cbi_queue.openmp import remedy_for
from jobs.trainer import BrokenRuntime

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def importing(name: str) -> Iterator[None]:
    """Import the library *name* in the body, without `UNUSED_BY_TREES`, whose estimators and frames it then lacks for good.

    Where the model is that of an installed package, it is imported whole: its code may use them.

    Raises:
        BrokenRuntime: with the remedy, when it is missing or does not load.
    """
    try:
        with without(*(() if has_outside_code() else UNUSED_BY_TREES)):
            yield
    except Exception as exc:
        error = " ".join(str(exc).split())
        msg = (
            f"{sys.executable} cannot import {name}; {remedy_for(error)}, then `cbi-queue retry` the job "
            f"({type(exc).__name__}: {error[:240]})"
        )
        raise BrokenRuntime(msg) from exc
