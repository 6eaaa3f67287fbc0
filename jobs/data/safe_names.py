"""Names that a column of features can have: letters, digits and _, not starting with a digit, at most 64."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SAFE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}\Z")


def safe_names(names: Sequence[str], taken: Iterable[str] = ()) -> dict[str, str]:
    """Map each of *names* to a safe one: itself where it is safe, never one that another has, or one of *taken*."""
    used = {*taken, *(name for name in names if SAFE_NAME.match(name))}
    found = {}
    for name in names:
        if SAFE_NAME.match(name) and name not in taken:
            found[name] = name
            continue
        stem = _stem(name)
        candidate, number = stem, 2
        while candidate in used:
            candidate, number = f"{stem[:60]}_{number}", number + 1
        used.add(candidate)
        found[name] = candidate
    return found


def _stem(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    stem = re.sub(r"_+", "_", re.sub(r"[^A-Za-z0-9]+", "_", plain.replace("&", "n").replace("%", "pct"))).strip("_")
    if not stem:
        return "column"
    return (f"c_{stem}" if stem[0].isdigit() else stem)[:64]
