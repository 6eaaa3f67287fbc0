"""One connection of a client, with an end to its patience: uvicorn's own timeout begins only after the first answer.

A client that sends nothing, a byte a minute, or never reads its answer would otherwise keep its place for ever, and a
few dozen of them would lock everyone else out.
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import asyncio

REQUEST_WITHIN_S = 10.0
"""Seconds from the connection, or from the last answer, until a request must be there, whole."""
ANSWER_WITHIN_S = 60.0
"""Seconds from then until its answer must be read, whole; the slowest answer waits 5 s for the ledger."""
MOST_CONNECTIONS = 64
"""Connections that are open at once; one more closes the one that has sent no whole request for the longest time.
Streams are not among them: `change_watch.MOST_LISTENERS` limits these.
"""
STREAM_PATH = "/api/v1/events/stream"
UNREAD_WITHIN_S = 10.0
"""Seconds for which a stream's bytes may lie here unread until its connection is dropped."""
STREAM_BUFFER_BYTES = 16_384
"""What the system may hold of a stream: of megabytes nobody could tell that they are unread."""


class PatientConnection(H11Protocol):
    """Closes when a request is not sent, or its answer not read, in time; the oldest idle one makes room for a new one."""

    def __init__(self, *args: Any, **options: Any) -> None:
        """Start as uvicorn does."""
        super().__init__(*args, **options)
        self._timer: asyncio.TimerHandle | None = None
        self.is_idle = True
        self.since_s = self.loop.time()
        self._was_unread = False

    @property
    def is_stream(self) -> bool:
        """True while the answer is the stream of changes, which does not end."""
        return not self.is_idle and self.scope is not None and self.scope["path"] == STREAM_PATH

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's own
        """Begin to wait for the first request; at the limit, close the connection that has been idle longest."""
        super().connection_made(transport)
        # asyncio leaves it out for a socket that names no protocol, as ours: each body then waited 40 ms for an ACK
        with contextlib.suppress(OSError):  # macOS refuses it for a client that has left already
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._wait(REQUEST_WITHIN_S, is_idle=True)
        there = [
            each
            for each in self.connections
            if not each.transport.is_closing() and not getattr(each, "is_stream", False)
        ]
        if len(there) > MOST_CONNECTIONS:
            idle = [each for each in there if isinstance(each, PatientConnection) and each.is_idle and each is not self]
            min(idle or [self], key=lambda each: each.since_s).transport.abort()  # all at work: the newcomer goes

    def data_received(self, data: bytes) -> None:
        """Take in what was sent; once a request is whole, wait for its answer."""
        super().data_received(data)
        is_whole = self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body
        if self.is_idle and is_whole:
            self._wait(ANSWER_WITHIN_S, is_idle=False)
            if self.is_stream:
                held = self.transport.get_extra_info("socket")
                held.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, STREAM_BUFFER_BYTES)
                self._watch_reading()

    def on_response_complete(self) -> None:
        """Begin to wait for the next request; first for the answer to be read, when it does not fit into the socket."""
        is_unread = self.transport.get_write_buffer_size() > 0
        self._wait(ANSWER_WITHIN_S if is_unread else REQUEST_WITHIN_S, is_idle=True)
        super().on_response_complete()  # may start on a request that came before its time

    def shutdown(self) -> None:
        """Begin to end with the server: a stream ends at once, every other answer is finished."""
        super().shutdown()
        if self.is_stream:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def _watch_reading(self) -> None:
        """Drop a stream of which bytes were there to be read at two looks, one after the other."""
        is_unread = self.transport.get_write_buffer_size() > 0
        if is_unread and self._was_unread:
            self.transport.abort()
            return
        self._was_unread = is_unread
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(UNREAD_WITHIN_S / 2, self._watch_reading)

    def _wait(self, seconds: float, *, is_idle: bool) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.is_idle, self.since_s = is_idle, self.loop.time()
        self._timer = self.loop.call_later(seconds, self.transport.abort)
