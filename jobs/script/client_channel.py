"""The socket at which a script's client reports and gets orders. One thread; nothing that a client says is trusted.

Each message is checked; what does not hold is told once, as a `Note`, and dropped. The first process that reports an
epoch speaks for the job, others only receive orders. The wire is described in docs/client.md.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import selectors
import socket
import struct
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cbi_queue.client import VERSION
from cbi_queue.client_files import copy_client
from cbi_queue.protocol import CheckpointSaved, EpochReport, MicroBatchChanged, Note, Restored

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cbi_queue.protocol import Report

_MAX_LINE_BYTES = 65_536
_MAX_CLIENTS = 64
_LINES_PER_S = 500
"""Of one client; more wait in its socket until the next second."""
_MAX_METRICS = 1_000
_MOST = 1e12
"""Largest count or number of seconds that is believed."""
_CAN = frozenset({"checkpoint", "micro_batch"})


@dataclass(eq=False)
class _Client:
    link: socket.socket
    has_said_hello: bool = False
    inbox: bytes = b""
    outbox: bytes = b""
    wants_orders: bool = True
    untold_s: float = 0.0
    """Seconds that the script was stopped and this client has not been told."""
    second: int = 0
    lines: int = 0


@dataclass
class _Orders:
    stop: bool = False
    checkpoint: bool = False
    micro_batch: int | None = None
    duty: float = 1.0


@dataclass
class _Heard:
    """What the speaker said last."""

    speaker: _Client | None = None
    epoch: int = 0
    can: set[str] = field(default_factory=set)
    full_micro_batch: int | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    has_said_hello: bool = False
    told: set[str] = field(default_factory=set)


class ClientChannel:
    """Listens in a private folder until `close`."""

    def __init__(self, folder: Path, report: Callable[[Report], None]) -> None:
        """Put socket and client files into *folder*, which only this user may enter.

        Args:
            folder: exists, mode 0700; its path may have 100 bytes at most.
            report: called in the channel's own thread with each report that held.

        Raises:
            OSError: when the socket cannot be made there.
        """
        copy_client(folder)
        self.path = folder / "s"
        self._report, self._heard, self._orders = report, _Heard(), _Orders()
        self._clients: set[_Client] = set()
        self._lock = threading.Lock()
        self._is_closed = False
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._server.bind(str(self.path))
            self._server.listen(128)
        except OSError:
            self._server.close()
            raise
        self._server.setblocking(False)
        self._wake, self._woken = socket.socketpair()
        self._wake.setblocking(False)
        self._woken.setblocking(False)
        self._thread = threading.Thread(target=self._serve, name="client-channel", daemon=True)
        self._thread.start()

    @property
    def has_client(self) -> bool:
        """True once a client said hello: the script can be asked to stop."""
        return self._heard.has_said_hello

    @property
    def can(self) -> frozenset[str]:
        """What the script asks for: checkpoint | micro_batch."""
        return frozenset(self._heard.can)

    @property
    def full_micro_batch(self) -> int | None:
        """The micro-batch that the script takes without an order; None: it never asked for one."""
        return self._heard.full_micro_batch

    @property
    def metrics(self) -> dict[str, float]:
        """The figures that the script reported, by name."""
        with self._lock:
            return dict(self._heard.metrics)

    def order(self, **changes: Any) -> None:
        """Change the orders, stop | checkpoint | micro_batch | duty, and tell all clients."""
        with self._lock:
            for name, value in changes.items():
                if name not in _Orders.__dataclass_fields__:
                    raise TypeError(f"{name} is no order")
                setattr(self._orders, name, value)
            for client in self._clients:
                client.wants_orders = True
        self._awake()

    def was_stopped(self, seconds: float) -> None:
        """Tell that the kernel kept the script stopped for so long; call it just before it is continued."""
        with self._lock:
            for client in self._clients:
                client.untold_s += max(0.0, seconds)
            clients = tuple(self._clients)
        for client in clients:  # here and now: it must lie in the socket when the script wakes
            self._write(client)

    def close(self) -> None:
        """Read what has been sent, and end; a second call does nothing."""
        self._is_closed = True
        self._awake()
        self._thread.join(5.0)

    def _awake(self) -> None:
        with contextlib.suppress(OSError):  # full: it is about to wake; closed: nobody is left
            self._wake.send(b"w")

    def _serve(self) -> None:
        with contextlib.ExitStack() as stack:
            for each in (self._server, self._wake, self._woken):
                stack.callback(each.close)
            stack.callback(self._drop_all)
            while not self._is_closed:
                self._turn()
            self._accept()
            for client in tuple(self._clients):
                self._read(client)

    def _turn(self) -> None:
        """Wait for what comes, at most a second, and deal with it."""
        second = int(time.monotonic())
        with selectors.DefaultSelector() as selector:
            selector.register(self._server, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            is_throttled = False
            for client in tuple(self._clients):
                self._write(client)
                is_full = client.second == second and client.lines >= _LINES_PER_S
                is_throttled |= is_full
                events = (0 if is_full else selectors.EVENT_READ) | (selectors.EVENT_WRITE if client.outbox else 0)
                if events and client in self._clients:
                    selector.register(client.link, events, client)
            ready = selector.select(0.1 if is_throttled else 1.0)
        for key, events in ready:
            if key.fileobj is self._server:
                self._accept()
            elif key.fileobj is self._woken:
                self._woken.recv(4096)
            elif events & selectors.EVENT_READ:
                self._read(key.data)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                link, _ = self._server.accept()
                if len(self._clients) >= _MAX_CLIENTS or _user(link) not in {os.getuid(), None}:
                    link.close()
                    self._tell(f"a connection was refused: {_MAX_CLIENTS} at most, all of this user")
                    continue
                link.setblocking(False)
                with self._lock:
                    self._clients.add(_Client(link))

    def _drop(self, client: _Client) -> None:
        client.link.close()
        with self._lock:
            self._clients.discard(client)
        if self._heard.speaker is client:  # the script may go on in another process
            self._heard.speaker = None

    def _drop_all(self) -> None:
        for client in tuple(self._clients):
            self._drop(client)

    def _read(self, client: _Client) -> None:
        try:
            data = client.link.recv(_MAX_LINE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        *lines, client.inbox = (client.inbox + data).split(b"\n")
        second = int(time.monotonic())
        client.lines = len(lines) + (client.lines if client.second == second else 0)
        client.second = second
        for line in lines:
            if client in self._clients:
                self._hear(client, line)
        if len(client.inbox) > _MAX_LINE_BYTES:
            self._tell(f"a client's line has more than {_MAX_LINE_BYTES:,} bytes; that client is not heard any more")
            self._drop(client)
        elif not data:
            self._drop(client)

    def _write(self, client: _Client) -> None:
        """Send what is due, without waiting; the rest goes when there is room."""
        with self._lock:
            while client.outbox or client.wants_orders or client.untold_s:
                if not client.outbox and client.wants_orders:
                    orders = {"type": "orders", "version": VERSION, **vars(self._orders)}
                    client.outbox, client.wants_orders = json.dumps(orders).encode() + b"\n", False
                elif not client.outbox:
                    stopped = {"type": "stopped", "seconds": client.untold_s}
                    client.outbox, client.untold_s = json.dumps(stopped).encode() + b"\n", 0.0
                try:
                    client.outbox = client.outbox[client.link.send(client.outbox) :]
                except BlockingIOError:
                    return
                except OSError:  # gone; its last words are still to be read
                    client.outbox, client.wants_orders, client.untold_s = b"", False, 0.0

    def _hear(self, client: _Client, line: bytes) -> None:
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict) or not isinstance(message.get("type"), str):
            self._tell("a client sent a line that is no message; that client is not heard any more")
            self._drop(client)
            return
        if not client.has_said_hello:
            self._greet(client, message)
            return
        known = {
            "epoch": self._epoch,
            "checkpoint": self._checkpoint,
            "restored": self._restored,
            "micro_batch": self._micro_batch,
            "metric": self._metric,
            "can": self._take_can,
            "bye": lambda *_: True,
        }
        hear = known.get(message["type"])
        if hear is None or not hear(client, message):
            self._tell(f"a client's message was dropped, a value in it is none that is allowed: {line[:120]!r}")

    def _greet(self, client: _Client, message: dict[str, Any]) -> None:
        if message["type"] == "hello" and message.get("version") == VERSION:
            client.has_said_hello = self._heard.has_said_hello = True
            return
        words = f"version {message.get('version')!r:.20}" if message["type"] == "hello" else "no hello first"
        self._tell(f"a client speaks another language ({words}, this queue speaks {VERSION}); it is not heard")
        self._drop(client)

    def _speaks(self, client: _Client) -> bool:
        return self._heard.speaker in {None, client}

    def _epoch(self, client: _Client, message: dict[str, Any]) -> bool:
        epoch, wall_s = _count(message.get("epoch"), 1), _number(message.get("wall_s"), 0.0)
        if epoch is None or wall_s is None:
            return False
        if not self._speaks(client):
            return True
        if epoch <= self._heard.epoch:
            return False
        self._heard.speaker, self._heard.epoch = client, epoch
        with self._lock:  # what it cannot have left out
            wall_s, untold_s, client.untold_s = max(0.0, wall_s - client.untold_s), client.untold_s, 0.0
        self._report(
            EpochReport(
                epoch=epoch,
                total_epochs=max(epoch, of) if (of := _count(message.get("of"), 1)) else 0,
                wall_s=wall_s,
                samples=_count(message.get("samples"), 1),
                train_loss=_number(message.get("train_loss")),
                validation_loss=_number(message.get("validation_loss")),
                micro_batch=_count(message.get("micro_batch"), 1),
                resumed=message.get("resumed") is True or untold_s > 0.0,
                cpu_s=_number(message.get("cpu_s"), 0.0),
            )
        )
        return True

    def _checkpoint(self, client: _Client, message: dict[str, Any]) -> bool:
        epoch, wall_s = _count(message.get("epoch"), 0), _number(message.get("wall_s"), 0.0)
        if epoch is None or wall_s is None:
            return False
        if self._speaks(client):
            if self._orders.checkpoint:
                self.order(checkpoint=False)
            self._report(CheckpointSaved(epoch=epoch, bytes=0, wall_s=wall_s))
        return True

    def _restored(self, client: _Client, message: dict[str, Any]) -> bool:
        epoch = _count(message.get("epoch"), 0)
        if epoch is not None and self._speaks(client):
            self._heard.epoch = epoch
            self._report(Restored(epoch=epoch, path="", exact=False, note="the script restored its own checkpoint"))
        return epoch is not None

    def _micro_batch(self, client: _Client, message: dict[str, Any]) -> bool:
        size = _count(message.get("micro_batch"), 1)
        if size is not None and self._speaks(client):
            self._report(MicroBatchChanged(epoch=self._heard.epoch, micro_batch=size))
        return size is not None

    def _metric(self, _client: _Client, message: dict[str, Any]) -> bool:
        name, value = message.get("name"), _number(message.get("value"))
        if not isinstance(name, str) or not 0 < len(name) <= 100 or not name.isprintable() or value is None:
            return False
        with self._lock:
            is_room = name in self._heard.metrics or len(self._heard.metrics) < _MAX_METRICS
            if is_room:
                self._heard.metrics[name] = value
        return is_room

    def _take_can(self, _client: _Client, message: dict[str, Any]) -> bool:
        can = message.get("can")
        if not isinstance(can, list) or not all(isinstance(each, str) for each in can):
            return False
        self._heard.full_micro_batch = _count(message.get("micro_batch"), 1) or self._heard.full_micro_batch
        self._heard.can |= _CAN & set(can)
        return True

    def _tell(self, words: str) -> None:
        """Say it once: of each kind, which its first words name."""
        if words[:40] not in self._heard.told:
            self._heard.told.add(words[:40])
            self._report(Note(words))


def _number(value: object, least: float | None = None) -> float | None:
    """Return a finite number from *least* up, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, int) and abs(value) > _MOST:
        return None
    if not math.isfinite(value) or (least is not None and not least <= value <= _MOST):
        return None
    return float(value)


def _count(value: object, least: int) -> int | None:
    """Return a whole number from *least* up, or None."""
    return value if isinstance(value, int) and not isinstance(value, bool) and least <= value <= _MOST else None


def _user(link: socket.socket) -> int | None:
    """Return the user of the process at the other end; None where the system does not say."""
    platform: str = sys.platform
    try:
        if platform == "linux":
            return int(struct.unpack("3i", link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1])
        if platform == "darwin":  # LOCAL_PEERCRED at level 0: struct xucred, its second word is the user
            return int(struct.unpack("2I", link.getsockopt(0, 1, 76)[:8])[1])
    except (OSError, struct.error):
        return None
    return None
