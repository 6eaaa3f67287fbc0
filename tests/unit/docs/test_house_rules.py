"""Rules that every file keeps: how wide a line is, and how many arguments a call passes without their names."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[3]
PRODUCT = ("cbi_queue", "workers", "jobs")
WIDEST = 120
MOST_POSITIONAL = 6


def sources(*folders: str) -> list[Path]:
    """Every Python file below *folders*."""
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_no_line_that_the_formatter_skips_is_too_wide() -> None:
    """`# fmt: skip` keeps a table readable; it is no way around the width of a line."""
    wide = [
        f"{name_of(path)}:{number}"
        for path in sources(*PRODUCT, "benchmarks", "docs", "schedules", "launchd", "tests")
        for number in skipped_lines(path)
        if len(path.read_text(encoding="utf-8").splitlines()[number - 1]) > WIDEST
    ]
    assert wide == []


def skipped_lines(path: Path) -> set[int]:
    """The numbers of the lines of each statement that carries a `# fmt: skip`."""
    text = path.read_text(encoding="utf-8")
    marked = {number for number, line in enumerate(text.splitlines(), start=1) if "# fmt: skip" in line}
    if not marked:
        return set()
    ends = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.stmt) and node.end_lineno in marked]
    return marked.union(*(range(node.lineno, (node.end_lineno or 0) + 1) for node in ends))


def test_no_call_passes_more_than_six_arguments_without_their_names() -> None:
    """The reader of a call cannot tell the seventh value from the sixth."""
    long = [
        f"{name_of(path)}:{call.lineno}"
        for path in sources(*PRODUCT)
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and len(call.args) > MOST_POSITIONAL
    ]
    assert long == []
