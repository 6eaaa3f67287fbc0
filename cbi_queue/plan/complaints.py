"""The list of complaints about day plans: each once, in the order of files and lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbi_queue.errors import PlanError
from cbi_queue.values.words import placed

if TYPE_CHECKING:
    from cbi_queue.values.words import KeyPath


class Complaints:
    """Everything that is wrong, each once, in the order of files and lines."""

    def __init__(self) -> None:
        """Start without a complaint."""
        self._found: dict[str, dict[str, int]] = {}

    def add(self, file: str, line: int | None, key: KeyPath, text: str) -> None:
        """Record *text* about *key* of *file*; *line* counts from 1, None where the file has none."""
        place = file if line is None else f"{file}:{line}"
        sentence = f"{place}: {placed(key, text)}"
        self._found.setdefault(file, {}).setdefault(sentence, line or 0)

    def raise_if_any(self) -> None:
        """Refuse the plans when there is a complaint.

        Raises:
            PlanError: with every complaint.
        """
        if found := self.sentences():
            raise PlanError(found)

    def sentences(self) -> list[str]:
        """Return every complaint, file by file, each file from top to bottom."""
        return [text for lines in self._found.values() for text in sorted(lines, key=lambda text: lines[text])]
