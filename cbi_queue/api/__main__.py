"""`python -m cbi_queue.api`: serve the status page and the API, as `cbi-queue serve` and the service start it."""

from __future__ import annotations

import argparse
import errno
import os
import resource
import signal
import socket
import sys
from typing import TYPE_CHECKING

import uvicorn

from cbi_queue.api import sessions
from cbi_queue.api.access import is_loopback, why_reading_needs_a_right
from cbi_queue.api.app import create_app
from cbi_queue.api.connections import MOST_CONNECTIONS, PatientConnection
from cbi_queue.errors import CbiError, Refused
from cbi_queue.models.catalogue import outside
from cbi_queue.regular_files import in_words
from cbi_queue.settings import load_settings
from cbi_queue.standard_streams import prepare_streams

if TYPE_CHECKING:
    from types import FrameType

    from cbi_queue.settings import Settings

STOPS_WITHIN_S = 3
"""Seconds that open requests get to finish when the server is stopped."""
OPEN_FILES = 1024
"""Files and connections that may be open at once: a Mac's 256 are not enough for every stream, connection and newcomer."""
SWITCH_S = 0.001
"""Seconds for which a thread may keep the interpreter while another waits for it, a fifth of Python's own: the loop must
not wait behind a page that is being made.
"""
LOOPBACKS = ("127.0.0.1", "::1")
"""Both are always taken: `localhost` may mean either, and whoever listened on the other would be sent the token."""


def main(arguments: list[str] | None = None) -> int:
    """Serve until a signal comes; return 0 after an orderly shutdown, the error's exit code otherwise."""
    parser = argparse.ArgumentParser(prog="python -m cbi_queue.api", description="The status page of cbi-queue.")
    parser.add_argument("--open", action="store_true", help="open the page in a browser")
    prepare_streams()
    options = parser.parse_args(arguments)
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, _leave)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # `cbi-queue serve` blocked it until here
    sys.setswitchinterval(SWITCH_S)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft if soft == resource.RLIM_INFINITY else max(soft, most), hard))
    outside()  # in the main thread, where a package that hangs can be interrupted
    try:
        serve(load_settings(), open_browser=options.open)
    except CbiError as exc:
        return _refused(exc)
    except OSError as exc:
        if exc.filename is None:
            raise
        return _refused(in_words(exc))
    return 0


def _refused(exc: CbiError) -> int:
    print(f"Error: {exc.message}", file=sys.stderr)
    if exc.hint:
        print(f"Hint: {exc.hint}", file=sys.stderr)
    return exc.exit_code


def _leave(signum: int, _frame: FrameType | None) -> None:
    """End before uvicorn listens to signals, and after: it raises the signal again once it has shut down.

    No exception: one that a handler raises in the middle of a finalizer is lost, and the server would go on.
    """
    os._exit(130 if signum == signal.SIGINT else 0)


def serve(settings: Settings, *, open_browser: bool = False) -> None:
    """Serve the page until a signal comes.

    Raises:
        Refused: when the server cannot listen on the address.
    """
    if not is_loopback(settings.host) and settings.other_machines != "allow":
        raise Refused(
            f"cannot serve on {settings.host}: other machines can reach it, and nothing is encrypted",
            hint=f"a tunnel is safer: ssh -L {settings.port}:127.0.0.1:{settings.port} THIS-MACHINE; or allow it with "
            "--allow-other-machines, or CBI_OTHER_MACHINES=allow",
        )
    app = create_app(settings)
    listeners = listen(settings)
    _announce(settings)
    if open_browser:  # the socket listens already, so the browser's request waits for the server
        sessions.open_browser(settings, sessions.new_link(settings))
    config = uvicorn.Config(
        app,
        http=PatientConnection,
        access_log=False,
        log_level="error",  # a stranger's odd requests must not fill the log
        ws="none",
        server_header=False,
        proxy_headers=False,
        backlog=MOST_CONNECTIONS,  # also how many newcomers are let in at once, before those too many are turned away
        timeout_graceful_shutdown=STOPS_WITHIN_S,
    )
    uvicorn.Server(config).run(sockets=listeners)


def listen(settings: Settings) -> list[socket.socket]:
    """Open the listening sockets: of the address that is set, and of both loopbacks.

    Raises:
        Refused: when the server cannot listen on one of them.
    """
    listeners: list[socket.socket] = []
    try:
        for host in _addresses(settings.host):
            if (listener := _listen_on(host, settings.port, is_asked_for=not listeners)) is not None:
                listeners.append(listener)
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def _addresses(host: str) -> list[str]:
    """Return *host* first, then the loopbacks that it does not include."""
    if host.lower() == "localhost":
        return [*LOOPBACKS]
    included = {"0.0.0.0": LOOPBACKS[0], "::": LOOPBACKS[1]}.get(host, host)  # noqa: S104 - compared with
    return [host, *(each for each in LOOPBACKS if each != included)]


def _listen_on(host: str, port: int, *, is_asked_for: bool) -> socket.socket | None:
    """Listen on one address; None for a loopback that this machine does not have, where nobody else can listen."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as exc:
        where = f"{f'[{host}]' if ':' in host else host}:{port}"
        if exc.errno == errno.EADDRINUSE:
            hint = f"use another port: cbi-queue serve --port {_another(port)}"
            raise Refused(f"cannot serve on {where}: another program listens on port {port}", hint=hint) from exc
        if not is_asked_for and exc.errno in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, socket.EAI_ADDRFAMILY}:
            return None
        hint = "use `--host 127.0.0.1`, and a `--port` of 1024 or above"
        raise Refused(f"cannot serve on {where}: {exc.strerror or exc}", hint=hint) from exc


def _another(port: int) -> int:
    return port + 1 if port < 65_535 else port - 1


def _announce(settings: Settings) -> None:
    why = why_reading_needs_a_right(settings)
    print(f"Status page  {settings.page_url}")
    print(f"API          {settings.page_origin}/api/v1/status, shapes in /openapi.json")
    needed = "changes, not for reading" if why is None else f"changes and for reading: {why}"
    print(f"Token        {settings.token_path} (needed for {needed})")
    print("Browser      cbi-queue open gives it the right, without the token", flush=True)
    if not is_loopback(settings.host):
        asked = "can read the queue and its logs" if why is None else "can try to"
        print(
            f"WARNING: {settings.host} is reachable from other machines: anyone who can connect to port "
            f"{settings.port} {asked}, and the token is sent unencrypted. A tunnel is safer: "
            f"ssh -L {settings.port}:127.0.0.1:{settings.port} THIS-MACHINE, with --host 127.0.0.1.",
            file=sys.stderr,
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
