"""Puts cbi-queue itself into a runtime, without its dependencies and without asking a package index.

If cbi-queue runs from a source tree, the runtime imports from that tree, so that both always run the same code. If it
is installed, its files are copied, because an index may have another version or none.
"""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import cbi_queue

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGES = ("cbi_queue", "jobs")
"""The packages of cbi-queue that a trainer imports."""


def source_tree() -> Path | None:
    """Return the source tree that cbi-queue runs from; None when it is installed."""
    tree = Path(cbi_queue.__file__).resolve().parents[1]
    return tree if (tree / "pyproject.toml").is_file() else None


def put_own_code(site_packages: Path) -> Path | None:
    """Make our packages importable from *site_packages*; return the source tree that they come from, if any."""
    for left in _entries(site_packages):
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    tree = source_tree()
    if tree is not None:
        (site_packages / "cbi-queue-source.pth").write_text(f"{tree}\n", encoding="utf-8")
    else:
        for name in PACKAGES:
            spec = find_spec(name)
            assert spec is not None and spec.origin is not None, name  # noqa: PT018, S101 - both ship together
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(Path(spec.origin).parent, site_packages / name, ignore=ignored)
    _write_metadata(site_packages)
    return tree


def _entries(site_packages: Path) -> Iterator[Path]:
    names = (*PACKAGES, "cbi-queue-source.pth")
    yield from (site_packages / name for name in names if (site_packages / name).exists())
    yield from site_packages.glob("cbi_queue-*.dist-info")


def _write_metadata(site_packages: Path) -> None:
    """Write name and version for Python's package tools: a run records the version that trained it."""
    folder = site_packages / f"cbi_queue-{cbi_queue.__version__}.dist-info"
    folder.mkdir()
    words = f"Metadata-Version: 2.1\nName: cbi-queue\nVersion: {cbi_queue.__version__}\n"
    (folder / "METADATA").write_text(words, encoding="utf-8")
    (folder / "INSTALLER").write_text("cbi-queue\n", encoding="utf-8")
