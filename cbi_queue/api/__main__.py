"""`python -m cbi_queue.api`: serve the status page and the API, as `cbi-queue serve` and the service start it."""

from __future__ import annotations

import argparse
import errno
import ipaddress
import signal
import socket
import sys
from typing import TYPE_CHECKING

import uvicorn

from cbi_queue.api.app import create_app
from cbi_queue.api.middleware import url_of
from cbi_queue.errors import CbiError, Refused
from cbi_queue.settings import load_settings
from cbi_queue.standard_streams import prepare_streams

if TYPE_CHECKING:
    from types import FrameType

    from cbi_queue.settings import Settings

STOPS_WITHIN_S = 3
"""Seconds that open requests get to finish when the server is stopped."""
MOST_CONNECTIONS = 64


def main(arguments: list[str] | None = None) -> int:
    """Serve until a signal comes; return 0 after an orderly shutdown, the error's exit code otherwise."""
    parser = argparse.ArgumentParser(prog="python -m cbi_queue.api", description="The status page of cbi-queue.")
    parser.add_argument("--open", action="store_true", help="open the page in a browser")
    prepare_streams()
    options = parser.parse_args(arguments)
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, _leave)
    try:
        serve(load_settings(), open_browser=options.open)
    except CbiError as exc:
        print(f"Error: {exc.message}", file=sys.stderr)
        if exc.hint:
            print(f"Hint: {exc.hint}", file=sys.stderr)
        return exc.exit_code
    return 0


def _leave(_signum: int, _frame: FrameType | None) -> None:
    """Exit cleanly: uvicorn raises the signal again once it has shut down."""
    sys.exit(0)


def serve(settings: Settings, *, open_browser: bool = False) -> None:
    """Serve the page until a signal comes.

    Raises:
        Refused: when the server cannot listen on the address.
    """
    app = create_app(settings)
    listener = listen(settings)
    _announce(settings)
    if open_browser:
        import webbrowser

        webbrowser.open(url_of(settings))  # the socket listens already, so the browser's request waits for the server
    config = uvicorn.Config(
        app,
        access_log=False,
        log_level="warning",
        ws="none",
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=STOPS_WITHIN_S,
    )
    uvicorn.Server(config).run(sockets=[listener])


def listen(settings: Settings) -> socket.socket:
    """Open the listening socket.

    Raises:
        Refused: when the server cannot listen on the address.
    """
    try:
        family = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((settings.host, settings.port), family=family)
    except OSError as exc:
        where = f"{settings.host}:{settings.port}"
        if exc.errno == errno.EADDRINUSE:
            hint = f"use another port: cbi-queue serve --port {_another(settings.port)}"
            raise Refused(
                f"cannot serve on {where}: another program listens on port {settings.port}", hint=hint
            ) from exc
        hint = "use `--host 127.0.0.1`, and a `--port` of 1024 or above"
        raise Refused(f"cannot serve on {where}: {exc.strerror or exc}", hint=hint) from exc


def _another(port: int) -> int:
    return port + 1 if port < 65_535 else port - 1


def _announce(settings: Settings) -> None:
    print(f"Status page  {url_of(settings)}")
    print(f"API          {url_of(settings).removesuffix('/status')}/api/status, shapes in /openapi.json")
    print(f"Token        {settings.token_path} (needed for changes, not for reading)", flush=True)
    if not _is_loopback(settings.host):
        print(
            f"Warning: {settings.host} is reachable from other machines: anyone who can connect to port "
            f"{settings.port} can read the queue and its logs, and the token is sent unencrypted. A tunnel is safer: "
            f"ssh -L {settings.port}:127.0.0.1:{settings.port} THIS-MACHINE, with --host 127.0.0.1.",
            file=sys.stderr,
            flush=True,
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


if __name__ == "__main__":
    sys.exit(main())
