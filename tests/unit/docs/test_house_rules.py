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


OF_FILES = {"OSError", "PermissionError", "FileNotFoundError", "BlockingIOError"}


def test_no_message_holds_an_error_of_the_file_system_as_it_is() -> None:
    """`[Errno 22]` says nothing to a user: `plain_words` and `failure_of` of `regular_files` name the file and why."""
    raw = [
        f"{name_of(path)}:{node.lineno}"
        for path in sources(*PRODUCT)
        for handler in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(handler, ast.ExceptHandler) and handler.name and classes_of(handler) & OF_FILES
        for node in ast.walk(handler)
        if is_written_raw(node, handler.name)
    ]
    assert raw == []


def classes_of(handler: ast.ExceptHandler) -> set[str]:
    """The names of the classes that *handler* catches."""
    return {node.id for node in ast.walk(handler.type) if isinstance(node, ast.Name)} if handler.type else set()


def is_written_raw(node: ast.AST, name: str) -> bool:
    """Return True for `{exc}` in an f-string and for `str(exc)`."""
    match node:
        case ast.FormattedValue(value=ast.Name(id=found)):
            return found == name
        case ast.Call(func=ast.Name(id="str" | "repr"), args=[ast.Name(id=found)]):
            return found == name
    return False
