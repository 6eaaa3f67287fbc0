"""How far a command is, by what it prints: `Epoch 3/10`, or tqdm's ` 45%|...| 450/1000 [00:12<00:15, 36.5it/s]`.

Only numbers are taken, and only to show and to reckon when it ends: nothing is decided by them. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_EPOCH = re.compile(rb"\bepoch:?[ \t]{0,3}\[?(\d{1,9})[ \t]?(?:/|of)[ \t]?(\d{1,9})\b", re.IGNORECASE)
_BAR = re.compile(rb"(?<![\d.])\d{1,3}%\|[^|\r\n]{0,400}\|[ \t]{0,9}(\d{1,12})/(\d{1,12}) \[")
_FIGURES = re.compile(rb"[\d.\s]+")
_LONGEST_LINE = 1_000
_LONGEST_NAME = 80


@dataclass(frozen=True, slots=True)
class Progress:
    """Steps that are done."""

    done: int
    of: int
    unit: str
    """epoch | step"""


class ProgressReader:
    """Reads a command's output piece by piece. Epochs count over bars, the outer bar over those of other names inside it;
    bars that begin anew say nothing.
    """

    def __init__(self) -> None:
        """Begin with nothing read."""
        self._rest = b""
        self._has_epochs = False
        self._bars_restart = False
        self._outer: bytes | None = None
        self.newest: Progress | None = None

    def read(self, chunk: bytes) -> None:
        """Read on; a number counts once the line that has it is over, or its bar's bracket is there."""
        text = self._rest + chunk
        for number, of in _pairs(_EPOCH, text):
            if 1 <= number <= of:
                self._has_epochs = True
                self._take(Progress(number - 1, of, "epoch"))  # printed as it begins: that one is not done
        for bar in () if self._has_epochs else _BAR.finditer(text):
            done, of = int(bar[1]), int(bar[2])
            if done <= of and of > 0 and not self._bars_restart:
                before = text[max(0, bar.start() - _LONGEST_NAME) : bar.start()]
                name = _FIGURES.sub(b"", re.split(rb"[\r\n]", before)[-1])
                self._take_bar(name, Progress(done, of, "step"))
        self._rest = text[max(text.rfind(b"\n"), text.rfind(b"\r")) + 1 :][-_LONGEST_LINE:]

    def _take_bar(self, name: bytes, seen: Progress) -> None:
        before = self.newest
        self._outer = name if self._outer is None else self._outer
        is_inside = before is not None and before.done < before.of and seen.of != before.of
        if name == self._outer or not is_inside:
            self._take(seen)

    def _take(self, seen: Progress) -> None:
        before = self.newest
        if before is None or before.unit != seen.unit or (seen.done >= before.done and seen.of == before.of):
            self.newest = seen
        elif seen.unit == "step":
            self._bars_restart, self.newest = True, None


def _pairs(pattern: re.Pattern[bytes], text: bytes) -> list[tuple[int, int]]:
    return [(int(first), int(second)) for first, second in pattern.findall(text)]
