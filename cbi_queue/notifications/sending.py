"""One message to one destination, and what came back in words. Waits at most for the limits that it is given.

apprise knows the addresses (https://github.com/caronc/apprise). A command gets the message as JSON on its standard input.
"""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import subprocess
import tempfile
import warnings
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from cbi_queue import clock
from cbi_queue.notifications.destinations import EVENTS
from cbi_queue.wording import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cbi_queue.notifications.destinations import Destination
    from cbi_queue.settings import Settings

MOST_OUTPUT = 400
"""Bytes kept of what a command prints last."""
INSTALL = "pip install 'cbi-queue[notify]'"
_TITLES = {
    "job_failed": "job failed", "week_stuck": "nothing can run", "plan_done": "plan done", "held": "slot held",
    "evicted": "job evicted", "disk_low": "disk nearly full", "drift": "model to train again",
    "forecast": "forecast written", "daemon_back": "daemon crashed and came back", "test": "test",
}  # fmt: skip
_PLURALS = {"job failed": "jobs failed", "plan done": "plans done", "model to train again": "models to train again"}


@dataclass(frozen=True, slots=True)
class Message:
    """One message, of one happening or of many."""

    title: str
    body: str
    content: dict[str, Any]
    """What a command gets as JSON."""


def message_of(settings: Settings, pending: Sequence[Mapping[str, Any]], counts: Mapping[str, int]) -> Message:
    """Put what is pending into one message, with the number of what it leaves out and the address of the page."""
    page = settings.page_url
    title = "cbi-queue: " + ", ".join(_title(event, count) for event, count in counts.items())
    left_out = sum(counts.values()) - len(pending)
    lines = [f"{each['words']}\n{each['advice']}" for each in pending]
    if left_out > 0:
        lines.append(f"and {counted(left_out, 'more', 'more')}: `cbi-queue list --all` shows every job.")
    body = "\n\n".join([*lines, page])
    events = [{**each, "meaning": EVENTS.get(each["event"], "a test")} for each in pending]
    left_out = max(0, left_out)
    content = {
        "title": title,
        "body": body,
        "page": page,
        "events": events,
        "counts": dict(counts),
        "left_out": left_out,
    }
    return Message(title, body, content)


def send(destination: Destination, message: Message) -> str | None:
    """Send; return None when it arrived, else why not, in words without a secret."""
    try:
        if destination.command:
            return _run(destination, message)
        return _notify(destination, message)
    except Exception as exc:  # noqa: BLE001 - a plug-in of the library may raise anything; the others are still told
        return destination.redacted(f"{type(exc).__name__}: {exc}")[:MOST_OUTPUT]


def is_installed() -> bool:
    """Return True if the library is there, without importing it."""
    return find_spec("apprise") is not None


def _title(event: str, count: int) -> str:
    words = _TITLES.get(event, event)
    return words if count == 1 else f"{count} {_PLURALS.get(words, f'times {words}')}"


def _notify(destination: Destination, message: Message) -> str | None:
    if not is_installed():
        return f"the package apprise is not installed; {INSTALL}"
    said = _Said()
    logger = logging.getLogger("apprise")
    logger.addHandler(said)
    logger.propagate = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the library's plug-ins, about themselves
            import apprise

            sender = apprise.Apprise()
            if not sender.add(destination.url or ""):
                return f"apprise does not know this kind of address ({destination.kind}://), or a part of it is missing"
            if sender.notify(body=message.body, title=message.title):
                return None
    finally:
        logger.removeHandler(said)
    words = "; ".join(said.lines) or "the service did not accept it and said nothing"
    return destination.redacted(words)[:MOST_OUTPUT]


class _Said(logging.Handler):
    """Keeps the warnings of the library; what it says below those shows addresses."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line, at most three."""
        if len(self.lines) < 3:
            self.lines.append(" ".join(record.getMessage().split()))


def _run(destination: Destination, message: Message) -> str | None:
    """Run the command in a process group of its own, without waiting for more than its time or keeping more than its last
    words.
    """
    kinds = ",".join(message.content["counts"])
    jobs = ",".join(dict.fromkeys(each["job"] for each in message.content["events"] if each["job"]))
    count = str(sum(message.content["counts"].values()))
    told = {"NOTIFY_EVENT": kinds, "NOTIFY_JOB": jobs, "NOTIFY_COUNT": count}
    with tempfile.TemporaryFile() as stream:
        stream.write(json.dumps(message.content).encode())
        stream.seek(0)
        try:
            child = subprocess.Popen(
                destination.command,
                stdin=stream,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**os.environ, **told},
                process_group=0,
            )
        except OSError as exc:
            return f"cannot start {destination.command[0]}: {exc.strerror}"
    with child:
        last, ended = _output(child, destination.timeout_s)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)  # it, or what it left behind
        code = child.wait()
    if not ended:
        return f"{destination.command[0]} did not end within {destination.timeout_s:g} s and was ended"
    if code == 0:
        return None
    words = " ".join("".join(each if each.isprintable() else " " for each in last.decode(errors="replace")).split())
    return f"{destination.command[0]} ended with exit code {code}" + (f": {words}" if words else "")


def _output(child: subprocess.Popen[bytes], timeout_s: float) -> tuple[bytes, bool]:
    """Return the last bytes that *child* printed, and whether it ended in time."""
    deadline_s, last = clock.monotonic_s() + timeout_s, b""
    pipe = child.stdout
    while pipe is not None and (left_s := deadline_s - clock.monotonic_s()) > 0:
        ready, _, _ = select.select([pipe], [], [], min(left_s, 0.2))
        if ready:
            chunk = os.read(pipe.fileno(), 65_536)
            if not chunk:  # closed; the program itself may go on
                break
            last = (last + chunk)[-MOST_OUTPUT:]
        elif child.poll() is not None:
            return last, True
    try:
        child.wait(max(0.0, deadline_s - clock.monotonic_s()))
    except subprocess.TimeoutExpired:
        return last, False
    return last, True
