"""A trainer's channel on two real pipes, with the slot's ends of them, for tests of directives and reports."""

from __future__ import annotations

import os
import threading
from contextlib import suppress

from cbi_queue.protocol import decode_report, encode
from jobs.process.channel import Channel, StopRequested
from support.waiting import until


class Line:
    """A channel on two pipes, and the slot's ends of them."""

    def __init__(self) -> None:
        down_read, self.down = os.pipe()
        self.up, up_write = os.pipe()
        self._trainer_up = os.fdopen(up_write, "wb")
        self._trainer_down = os.fdopen(down_read, "rb", buffering=0)
        self.channel = Channel(self._trainer_up, self._trainer_down)
        self.channel.listen()
        self.reports = os.fdopen(self.up, "rb")

    def order(self, *directives):
        """Send directives, or raw bytes."""
        for directive in directives:
            os.write(self.down, directive if isinstance(directive, bytes) else encode(directive))

    def next_report(self):
        """Wait for the next report."""
        return decode_report(self.reports.readline())

    def hang_up(self):
        """Close the pipe to the trainer, as a daemon that is killed does."""
        if self.down >= 0:
            os.close(self.down)
            self.down = -1

    def close(self):
        """Close every end."""
        self.hang_up()
        until(lambda: self.channel._is_closed, "the listener has seen the end, and reads no more")
        for stream in (self.reports, self._trainer_up, self._trainer_down):
            with suppress(OSError):
                stream.close()


def train(line, epochs):
    """Train in a thread as a family does; return the thread, and a list that fills with the epochs and how it ended."""
    story = []

    def run():
        try:
            for epoch in epochs:
                line.channel.safe_point(epoch)
                story.append(epoch)
        except StopRequested:
            story.append("stopped")

    thread = threading.Thread(target=run)
    thread.start()
    return thread, story
