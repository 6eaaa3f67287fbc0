"""What the page of a plan shows: the text line by line, each complaint at its line. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cbi_queue.api.plan_verbs import Checked, Complaint

MOST_LINES = 1_500
"""Lines shown whole; of a longer text, only those near complaints are."""
NEAR = 3
LONGEST_LINE = 400
MOST_COMPLAINTS = 200
MOST_ORDER = 500
_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
"""What ends a line in YAML."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the text."""

    number: int
    text: str
    complaints: tuple[Complaint, ...]


@dataclass(frozen=True, slots=True)
class PlanView:
    """The page after a plan was sent."""

    text: str
    name: str
    checked: Checked
    lines: tuple[Line, ...]
    complaints: tuple[Complaint, ...]
    """The first of them."""
    enqueued: dict[str, Any] | None = None
    refusal: str | None = None
    """Why a plan without complaints was not enqueued."""

    @property
    def more_complaints(self) -> int:
        """How many complaints are not shown."""
        return len(self.checked.complaints) - len(self.complaints)

    @property
    def shown(self) -> frozenset[int]:
        """Numbers of the lines that are shown, to which a complaint may link."""
        return frozenset(line.number for line in self.lines)

    @property
    def order(self) -> list[str]:
        """Names of the first jobs, in the order in which they run."""
        return list(self.checked.summary["order"][:MOST_ORDER]) if self.checked.summary else []


def plan_view(content: bytes, name: str, checked: Checked, **outcome: Any) -> PlanView:
    """Put the page together; bytes that are no text are shown as replacement characters."""
    text = content.decode("utf-8-sig", errors="replace")
    kept = checked.complaints[:MOST_COMPLAINTS]
    return PlanView(text, name, checked, tuple(_lines(text, kept)), kept, **outcome)


def _lines(text: str, complaints: tuple[Complaint, ...]) -> list[Line]:
    at: dict[int, list[Complaint]] = defaultdict(list)
    for complaint in complaints:
        if complaint.line is not None:
            at[complaint.line].append(complaint)
    if not at:
        return []
    written = _BREAK.split(text)
    numbers = range(1, len(written) + 1)
    if len(written) > MOST_LINES:
        near = {each for line in at for each in range(line - NEAR, line + NEAR + 1)}
        wanted = sorted(near.intersection(numbers))[:MOST_LINES]
    else:
        wanted = list(numbers)
    return [Line(number, written[number - 1][:LONGEST_LINE], tuple(at.get(number, ()))) for number in wanted]
