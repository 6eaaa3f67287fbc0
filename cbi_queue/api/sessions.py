"""One-time links and the browsers that came through one: how a browser gets the right to read and change.

Each secret is a file of the owner's in `page-access`, named by the SHA-256 of the secret: who reads the folder's names
still knows none. A link is used up by removing its file, which succeeds once.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.client
import os
import secrets
import stat
from typing import TYPE_CHECKING

from cbi_queue import clock
from cbi_queue.artifacts import write_atomic
from cbi_queue.errors import Refused
from cbi_queue.regular_files import check_folder, read_text

if TYPE_CHECKING:
    from pathlib import Path

    from cbi_queue.settings import Settings

LINK_S = 60.0
"""Seconds within which a link must be followed."""
SESSION_S = 30 * 86_400.0
"""Seconds that a browser keeps its right: a page that is open for a week never loses it."""
LINK_PATH = "/open/link/"
PROOF_PATH = "/open/proof/"
_SECRET_BYTES = 32
_CONNECT_S = 5.0


def new_link(settings: Settings) -> str:
    """Return the address of a new link; the server that `check_server` has checked exchanges it once.

    Raises:
        OSError: from the file system.
    """
    return f"{settings.page_origin}{LINK_PATH}{_new(settings, 'link')}"


def exchange(settings: Settings, link: str) -> str | None:
    """Use up the secret of a link and return that of a new session; None for one that is unknown, used or too old."""
    path = _path(settings, "link", link)
    is_fresh = _is_fresh(path, LINK_S)
    try:
        path.unlink()
    except OSError:
        return None
    return _new(settings, "session") if is_fresh else None


def is_session(settings: Settings, secret: str) -> bool:
    """Return True if *secret* is that of a browser that may read and change."""
    return _is_fresh(_path(settings, "session", secret), SESSION_S)


def revoke_all(settings: Settings) -> int:
    """Forget every link and every browser; return how many browsers there were."""
    found = [path for path in _entries(settings) if path.name.startswith(("link-", "session-"))]
    for path in found:
        path.unlink(missing_ok=True)
    return sum(path.name.startswith("session-") for path in found)


def proof(settings: Settings, challenge: str) -> str:
    """Return what only a server of this state folder, at this port, can say to *challenge*."""
    key = _folder(settings) / "server-key"
    try:
        text = read_text(key, encoding="ascii")
    except FileNotFoundError:
        text = secrets.token_hex(_SECRET_BYTES)
        write_atomic(key, text.encode())
    return hmac.new(text.encode(), f"{settings.port} {challenge}".encode(), hashlib.sha256).hexdigest()


def check_server(settings: Settings) -> None:
    """Check that the page of this queue is served, so that no other program on the port is sent a link.

    Raises:
        Refused: when nothing answers, or another program does.
    """
    origin, challenge = settings.page_origin, secrets.token_hex(_SECRET_BYTES)
    client = http.client.HTTPConnection(origin.removeprefix("http://"), timeout=_CONNECT_S)
    with contextlib.closing(client):
        try:
            client.request("GET", f"{PROOF_PATH}{challenge}")
            said = client.getresponse().read(200)
        except (OSError, http.client.HTTPException) as exc:
            hint = "start it: cbi-queue serve, or cbi-queue service install"
            raise Refused(f"cannot open the page: no page is served at {origin}", hint=hint) from exc
    if not hmac.compare_digest(said, proof(settings, challenge).encode()):
        raise Refused(
            f"cannot open the page: what answers at {origin} is not the page of the queue in {settings.state_dir}",
            hint="name its port (CBI_PORT) or its state folder (CBI_STATE_DIR), or start it: cbi-queue serve --port PORT",
        )


def open_browser(settings: Settings, link: str) -> bool:
    """Open *link* in a browser through a file: a command line, which every account can read, never holds it."""
    import html
    import webbrowser

    path = settings.state_dir / "open.html"
    target = html.escape(link)
    write_atomic(
        path,
        f'<!doctype html><meta charset="utf-8"><title>cbi-queue</title><meta http-equiv="refresh" content="0; url={target}">'
        f'<p><a href="{target}">Open the page</a></p>\n'.encode(),
    )
    return webbrowser.open(path.as_uri())


def _new(settings: Settings, kind: str) -> str:
    for path in _entries(settings):
        if (path.name.startswith("link-") and not _is_fresh(path, LINK_S)) or (
            path.name.startswith("session-") and not _is_fresh(path, SESSION_S)
        ):
            path.unlink(missing_ok=True)
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    os.close(os.open(_path(settings, kind, secret), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    return secret


def _is_fresh(path: Path, most_s: float) -> bool:
    """Return True for a regular file made within *most_s* seconds; one from the future is none: a clock was set back."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and -1.0 <= clock.epoch_s() - found.st_mtime <= most_s


def _path(settings: Settings, kind: str, secret: str) -> Path:
    digest = hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()
    return settings.state_dir / "page-access" / f"{kind}-{digest}"


def _folder(settings: Settings) -> Path:
    settings.make_state_dir()
    folder = settings.state_dir / "page-access"
    check_folder(folder)
    folder.mkdir(exist_ok=True, mode=0o700)
    return folder


def _entries(settings: Settings) -> list[Path]:
    return list(_folder(settings).iterdir())
