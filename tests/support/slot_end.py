"""The slot's end of a real channel: only what the slot would send is scripted."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from cbi_queue.protocol import Message, decode_report
from jobs.process.channel import Channel

if TYPE_CHECKING:
    from collections.abc import Callable


class Slot:
    """The other end of a real channel: keeps every report and answers the ones it is told to."""

    def __init__(self, answer: Callable[[Channel, Message], None] = lambda _channel, _message: None) -> None:
        self.reports: list[Message] = []
        self._answer = answer
        self.channel = Channel(self, io.BytesIO())

    def write(self, line: bytes) -> None:
        """Take a line from the channel, in the trainer's own thread: an answer is there before the next step."""
        message = decode_report(line)
        self.reports.append(message)
        self._answer(self.channel, message)

    def flush(self) -> None:
        """Nothing is buffered."""

    def of_type(self, kind: type[Message]) -> list[Any]:
        """The reports of one kind, in order."""
        return [report for report in self.reports if isinstance(report, kind)]
