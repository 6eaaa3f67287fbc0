"""Import a library without others that it would import along: what it can do with them, nobody here asks for."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

UNUSED_BY_TREES = ("sklearn", "pandas", "dask", "matplotlib")
"""Libraries that LightGBM and XGBoost import for estimators, frames and plots, if they find them: a second, and 80 MiB."""


@contextmanager
def without(*names: str) -> Iterator[None]:
    """Let imports of the modules *names* fail in the body, as if they were not installed; those that are loaded stay.

    The library that is imported in the body must name them as optional. Afterwards they can be imported as ever.
    """
    barred = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(barred))  # type: ignore[arg-type]  # None makes their import fail
    try:
        yield
    finally:
        for name in barred:
            if sys.modules.get(name, sys) is None:
                del sys.modules[name]
