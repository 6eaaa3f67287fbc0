"""Let a training script of your own report to cbi-queue and obey it: one file, standard library, Python 3.8 or newer.

    from cbi_queue.client import training

    if (path := training.resume_from()) is not None: model.load(path)
    for epoch in training.epochs(60):             # goes on after the checkpoint that was loaded
        loss = train_one_epoch(model)
        training.report(epoch, of=60, loss=loss)
        if training.checkpoint_due():
            with training.save(epoch) as path: model.save(path)

That is all: when the queue wants the machine back, `checkpoint_due` is True, and the next turn of `epochs` ends the
script (SystemExit 75). Outside the queue every call is a no-op. Only the first call and the first `micro_batch` wait for
the queue, half a second at most, and the end of the script, three. None raises for wrong values: it warns once on standard
error and drops them. Only `save` raises what writing files raises.

Callbacks for libraries are in `client_adapters`. This file never imports the rest of cbi-queue, so it can be copied.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import math
import os
import re
import select
import shutil
import socket
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

VERSION = 1  # of the messages that are spoken
STOPPED = 75  # exit status of a script that was asked to stop (EX_TEMPFAIL)
_MAX_BYTES, _CONNECT_S, _LAST_S = 65_536, 0.5, 3.0
_BURST, _PER_S = 200.0, 10.0  # reports sent at once, and a second after that; the next one holds those between
_NO_SIGNAL, _NO_SIGPIPE = getattr(socket, "MSG_NOSIGNAL", 0), 0x1022  # the second is macOS's SO_NOSIGPIPE


class Training:
    """The script's side of the queue; use the one instance `training`. Threads may share it; a forked child is mute."""

    def __init__(self) -> None:
        self.resumed_epoch = 0  # of the checkpoint that `resume_from` returned
        self.dropped_reports = 0  # they found no room, because the queue did not read
        self._lock = threading.RLock()  # a signal handler may call in the middle of a call
        self._pid = 0
        self._socket: socket.socket | None = None
        self._inbox, self._outbox = b"", b""
        self._orders: dict[str, Any] = {}
        self._abilities: set[str] = set()
        self._warned: set[str] = set()
        self._tokens, self._samples, self._lowered = _BURST, 0, 0
        self._begun = self._reported_s = self._saved_s = time.monotonic()
        self._begun_cpu = time.process_time()
        self._is_odd = True  # the time of the next report is no baseline: it holds the script's start, or a pause

    @property
    def active(self) -> bool:
        """True while this process is connected to the queue."""
        return self._link() is not None

    @property
    def checkpoint_dir(self) -> Path:
        """Where the job's checkpoints belong; `checkpoints` in the working folder outside the queue."""
        return Path(os.environ.get("CBI_QUEUE_CHECKPOINTS") or "checkpoints")

    @property
    def output_dir(self) -> Path:
        """Where files to keep belong; the working folder outside the queue."""
        return Path(os.environ.get("CBI_QUEUE_OUTPUT") or ".")

    def report(
        self,
        epoch: int,
        of: int | None = None,
        loss: float | None = None,
        validation_loss: float | None = None,
        samples: int | None = None,
        micro_batch: int | None = None,
    ) -> None:
        """Report that *epoch* (1-based) is done; wall and processor time since the last report are measured here.

        Args:
            epoch: finished epochs, rounds or steps; it only grows.
            of: how many are planned.
            loss: of the training data, finite.
            validation_loss: of the validation data, finite.
            samples: training samples since the last report.
            micro_batch: samples that went through the model at once.
        """
        if self._link() is None:
            return
        number = self._number("epoch", epoch, least=1, whole=True)
        if number is None:
            return
        values: dict[str, Any] = {
            "of": self._number("of", of, least=1, whole=True),
            "train_loss": self._number("loss", loss),
            "validation_loss": self._number("validation_loss", validation_loss),
            "micro_batch": self._number("micro_batch", micro_batch, least=1, whole=True),
        }
        with self._lock:
            now = time.monotonic()
            self._samples += int(self._number("samples", samples, least=0, whole=True) or 0)
            self._tokens = min(_BURST, self._tokens + _PER_S * (now - self._reported_s)) - 1.0
            self._reported_s = now
            if self._tokens < 0.0 and number != values["of"]:
                self._tokens += 1.0
                return
            self._poll()  # the time that the script was stopped, up to now
            values.update(samples=self._samples or None, resumed=self._is_odd or None)
            values.update(wall_s=max(0.0, now - self._begun), cpu_s=max(0.0, time.process_time() - self._begun_cpu))
            known = {name: value for name, value in values.items() if value is not None}
            self.dropped_reports += not self._send({"type": "epoch", "epoch": number, **known})
            self._begin()

    def checkpoint_due(self, every_s: float = 600.0) -> bool:
        """Return True if a checkpoint is to be written now: the queue asks, or none was for *every_s* seconds."""
        if self._link() is None:
            return False
        self._can("checkpoint")
        asked = self._is_ordered("checkpoint") or self._is_ordered("stop")
        return asked or time.monotonic() - self._saved_s >= every_s

    def checkpointed(self, epoch: int) -> None:
        """Say that a checkpoint of *epoch* is complete on disk; `save` says it by itself."""
        number = self._number("epoch", epoch, least=0, whole=True)
        if number is not None and self._link() is not None:
            self._checkpointed(int(number), 0.0)

    def should_stop(self) -> bool:
        """Return True if the queue wants the script to write a checkpoint and end: `sys.exit()` with any status."""
        return self._link() is not None and self._is_ordered("stop")

    def micro_batch(self, default: int) -> int:
        """Return how many samples to put through the model at once: *default*, or fewer when memory is short.

        Accumulate gradients over `default / micro_batch` passes to keep the batch as it was.
        """
        if self._link() is None:
            return default
        self._can("micro_batch", default)
        with self._lock:
            if not self._orders and self._socket is not None:  # a script may ask but once, at its start
                orders = select.poll()  # `select` takes no descriptor from 1,024 up
                orders.register(self._socket, select.POLLIN)
                orders.poll(1000 * _CONNECT_S)
            self._poll()
            wanted = self._orders.get("micro_batch")
            taken = wanted if type(wanted) is int and 1 <= wanted < default else default
            if taken != (self._lowered or default):
                self._lowered = taken if taken < default else 0
                self._is_odd = True
                self._send({"type": "micro_batch", "micro_batch": taken})
            return taken

    def metric(self, name: str, value: float) -> None:
        """Report a figure of the result, such as `rmse`; the last value of a name counts."""
        if self._link() is None:
            return
        number = self._number("metric", value)
        if not isinstance(name, str) or not 0 < len(name) <= 100:
            self._warn(f"metric: a name is a text of 1 to 100 characters, not {name!r:.60}")
        elif number is not None:
            self._send({"type": "metric", "name": name, "value": number})

    def epochs(self, of: int) -> Iterator[int]:
        """Yield the epochs to train, 1 to *of*, after the checkpoint that `resume_from` returned.

        Raises:
            SystemExit: with status 75, at the turn after the queue asked for a stop.
        """
        self._begin()
        for epoch in range(self.resumed_epoch + 1, of + 1):
            if self.should_stop():
                raise SystemExit(STOPPED)
            yield epoch

    @contextlib.contextmanager
    def epoch(self, epoch: int, of: int | None = None) -> Iterator[dict[str, Any]]:
        """Time a block as *epoch* and report it with what was put into the dict: loss, validation_loss, samples."""
        self._begin()
        values: dict[str, Any] = {}
        yield values
        known = ("loss", "validation_loss", "samples", "micro_batch")
        self.report(epoch, of, **{name: values.get(name) for name in known})

    @contextlib.contextmanager
    def save(self, epoch: int, suffix: str = "", keep: int = 2) -> Iterator[Path]:
        """Give a path to write a file or folder to; flush it, rename it to `epoch-N` + *suffix*, keep the last *keep*.

        A script that is killed in the middle leaves the earlier checkpoints as they were.

        Raises:
            OSError: when it cannot be written; what was begun is removed.
        """
        begun, folder = time.monotonic(), self.checkpoint_dir
        folder.mkdir(parents=True, exist_ok=True)
        name = f"epoch-{int(epoch):08d}{suffix}"
        partial, final = folder / f".partial-{os.getpid()}-{name}", folder / name
        try:
            yield partial
            for path in [partial, *partial.rglob("*")] if partial.is_dir() else [partial]:
                _flush(path)
            if final.is_dir():
                shutil.rmtree(final)
            partial.replace(final)
        except BaseException:
            _remove(partial)
            raise
        _flush(folder)
        for _, old in _complete(folder, "epoch-*")[max(1, keep) :]:
            _remove(old)
        if self._link() is not None:
            self._checkpointed(int(epoch), time.monotonic() - begun)

    def resume_from(self) -> Path | None:
        """Return the newest complete checkpoint of this job, or None; `epochs` then goes on after it.

        Complete are those that `save` renamed into place, and folders of Hugging Face with their trainer_state.json.
        """
        found = _complete(self.checkpoint_dir, "epoch-*") + _complete(self.checkpoint_dir, "checkpoint-*")
        if not found:
            return None
        self.resumed_epoch, path = max(found)
        if self._link() is not None:
            self._send({"type": "restored", "epoch": self.resumed_epoch})
        return path

    def _is_ordered(self, name: str) -> bool:
        with self._lock:
            self._poll()
            return self._orders.get(name) is True

    def _begin(self) -> None:
        with self._lock:
            self._begun, self._begun_cpu, self._samples, self._is_odd = time.monotonic(), time.process_time(), 0, False

    def _checkpointed(self, epoch: int, wall_s: float) -> None:
        with self._lock:
            self._saved_s = time.monotonic()
            self._begun += wall_s
            self._poll()
            self._orders["checkpoint"] = False  # until the queue asks again
            self._send({"type": "checkpoint", "epoch": epoch, "wall_s": wall_s})

    def _can(self, what: str, batch: Any = None) -> None:
        if what not in self._abilities:
            with self._lock:
                self._abilities.add(what)
                asked = batch if type(batch) is int else None
                self._send({"type": "can", "can": sorted(self._abilities), "micro_batch": asked})

    def _link(self) -> socket.socket | None:
        """Return the socket of this process; connect at the first call, and never again."""
        if self._pid:
            return self._socket if self._pid == os.getpid() else None
        path = os.environ.get("CBI_QUEUE_SOCKET")
        if not path:
            return None
        with self._lock:
            if not self._pid:
                self._pid = os.getpid()
                self._connect(path)
        return self._socket

    def _connect(self, path: str) -> None:
        link = None
        try:
            link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            link.settimeout(_CONNECT_S)
            link.connect(path)
            link.setblocking(False)
            if sys.platform == "darwin":
                link.setsockopt(socket.SOL_SOCKET, _NO_SIGPIPE, 1)
        except (OSError, AttributeError, ValueError):
            if link is not None:
                link.close()
            self._warn("cannot reach the queue at its socket; the training goes on without it")
            return
        self._socket = link
        atexit.register(self._end)
        self._send({"type": "hello", "version": VERSION, "pid": self._pid, "python": sys.version.split()[0]})

    def _end(self) -> None:
        link = self._link()
        if link is not None:
            self._send({"type": "bye"})
            with self._lock, contextlib.suppress(OSError):  # what found no room: the queue reads 500 lines a second
                link.settimeout(_LAST_S)
                link.sendall(self._outbox, _NO_SIGNAL)
            self._lose()

    def _lose(self) -> None:
        link, self._socket, self._orders = self._socket, None, {}
        if link is not None:
            link.close()

    def _send(self, message: dict[str, Any]) -> bool:
        """Send without waiting; return False if there was no room."""
        with self._lock:
            if self._socket is None:
                return True
            line = json.dumps(message).encode() + b"\n"
            if has_room := len(self._outbox) + len(line) <= _MAX_BYTES:
                self._outbox += line
            try:
                self._outbox = self._outbox[self._socket.send(self._outbox, _NO_SIGNAL) :]
            except (BlockingIOError, InterruptedError):
                pass
            except OSError:
                self._lose()
            return has_room

    def _poll(self) -> None:
        """Read what has come, without waiting. The lock is held."""
        try:
            while self._socket is not None:
                data = self._socket.recv(_MAX_BYTES)
                *lines, self._inbox = (self._inbox + data).split(b"\n")
                for line in lines:
                    self._obey(line)
                if not data or len(self._inbox) > _MAX_BYTES:
                    self._lose()
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            self._lose()

    def _obey(self, line: bytes) -> None:
        try:
            message = json.loads(line)
            if message["type"] == "orders" and message["version"] == VERSION:
                self._orders = message
            elif message["type"] == "stopped":
                self._begun += max(0.0, float(message["seconds"]))
                self._is_odd = True
        except (ValueError, KeyError, TypeError, RecursionError):
            self._warn("the queue sent a line that this client does not understand; it is ignored")

    def _number(self, name: str, value: Any, least: float | None = None, *, whole: bool = False) -> float | None:
        """Return *value* as a plain number; None for None and, with a warning, for what is no such number."""
        if value is None:
            return None
        try:
            if isinstance(value, (str, bytes, bool)):
                raise TypeError
            number = float(value)
            if math.isfinite(number) and (least is None or number >= least) and (not whole or number == int(number)):
                return int(number) if whole else number
        except Exception:  # noqa: BLE001, S110 - whatever a foreign value's __float__ raises must not end a training
            pass
        kind = "a whole number" if whole else "a finite number"
        self._warn(f"{name}: {value!r:.60} is dropped, it must be {kind}{'' if least is None else f' from {least} up'}")
        return None

    def _warn(self, words: str) -> None:
        key = words.partition(":")[0]
        if key not in self._warned:
            self._warned.add(key)
            with contextlib.suppress(Exception):
                print(f"cbi-queue client: {words} (said once)", file=sys.stderr)


training = Training()
"""The one instance: import this."""


def _flush(path: Path) -> None:
    handle = os.open(str(path), os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _complete(folder: Path, pattern: str) -> list[tuple[int, Path]]:
    """Return (epoch, path) of the complete checkpoints, the newest first."""
    found = []
    for path in folder.glob(pattern):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            match = re.match(r"epoch-(\d+)", path.name)
            epoch: Any = match.group(1) if match else None
            if not match:  # Hugging Face's own: it writes this file last
                epoch = json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))["epoch"]
            found.append((int(epoch), path))
    return sorted(found, reverse=True)
