"""Who may read the page, and who may change the queue: whoever carries the token, or a browser that `open` let in."""

from __future__ import annotations

import ipaddress
import os
import pwd
import sys
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.requests import cookie_parser

from cbi_queue.api.sessions import LINK_PATH, PROOF_PATH, SESSION_S, is_session
from cbi_queue.api.token import why_no_change

if TYPE_CHECKING:
    from starlette.datastructures import Headers

    from cbi_queue.settings import Settings

ALWAYS_OPEN = ("/static/", LINK_PATH, PROOF_PATH)
"""What is read without any right: how the page looks, and what gives a browser its right."""
NO_RIGHT = 401
"""Status of the answer to a sender without the right that is asked for."""
NO_SHELLS = frozenset({"nologin", "false", "true", "sync", "halt", "shutdown", "uucico"})
"""Programs in the place of a shell with which nobody can log in."""
_DIRECTORIES = frozenset({"sss", "ldap", "nis", "nisplus", "winbind", "hesiod"})
"""Sources of accounts, in nsswitch.conf, that need not list them all."""
_MAC_DIRECTORIES = Path("/Library/Preferences/OpenDirectory/Configurations")
_MAY_CHANGE: ContextVar[bool] = ContextVar("may_change", default=False)


def may_change_now() -> bool:
    """Return True while a request is answered whose sender may change the queue: templates show its buttons."""
    return _MAY_CHANGE.get()


def note_right(may_change: bool) -> None:
    """Remember, for the request that is being answered, whether its sender may change the queue."""
    _MAY_CHANGE.set(may_change)


def cookie_name(settings: Settings) -> str:
    """Return the name of the cookie; with the port, for browsers send a cookie to every port of its host."""
    return f"cbi-queue-{settings.port}"


def cookie(settings: Settings, secret: str) -> str:
    """Return the value of `Set-Cookie` for a session."""
    return f"{cookie_name(settings)}={secret}; Max-Age={SESSION_S:.0f}; Path=/; HttpOnly; SameSite=Strict"


def has_token(settings: Settings, headers: Headers) -> bool:
    """Return True if a request carries the token."""
    return "authorization" in headers and why_no_change(settings, headers["authorization"]) is None


def has_session(settings: Settings, headers: Headers) -> bool:
    """Return True if a request carries the cookie of a browser that `open` let in."""
    given = cookie_parser(headers.get("cookie", "")).get(cookie_name(settings))
    return bool(given) and is_session(settings, given or "")


def has_right(settings: Settings, headers: Headers) -> bool:
    """Return True if the sender of a request may read everything and change the queue."""
    return has_token(settings, headers) or has_session(settings, headers)


def is_loopback(host: str) -> bool:
    """Return True if *host* can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def why_reading_needs_a_right(settings: Settings) -> str | None:
    """Return in words why reading needs the token or a browser that was let in; None when it does not."""
    if settings.page_reading == "open":
        return None
    if settings.page_reading == "token":
        return "the setting page_reading is `token`"
    if not is_loopback(settings.host):
        return f"the page listens on {settings.host}, which other machines can reach"
    return why_others_could_connect()


def why_others_could_connect() -> str | None:
    """Return why another account of this machine may be able to connect, or None when there is none.

    An account counts when somebody can log in with it: it has a shell. Root does not, which can read everything anyway.
    Where a directory on the network has accounts that nobody can list, the answer is not known.
    """
    if _has_directory():
        return "this machine takes accounts from a directory on the network, so who can connect is not known"
    own = os.geteuid()
    others = sorted(
        each.pw_name for each in pwd.getpwall()
        if each.pw_uid not in {0, own} and Path(each.pw_shell).name not in NO_SHELLS
        and not (sys.platform == "darwin" and each.pw_name.startswith("_"))  # Apple's own, which nobody logs in with
    )  # fmt: skip
    if not others:
        return None
    more = f" and {len(others) - 3} more" if len(others) > 3 else ""
    return f"other accounts of this machine can connect, too: {', '.join(others[:3])}{more}"


def _has_directory() -> bool:
    if sys.platform == "darwin":
        return any(any(_MAC_DIRECTORIES.glob(f"{kind}/*")) for kind in ("Active Directory", "LDAPv3"))
    try:
        lines = Path("/etc/nsswitch.conf").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False  # without the file, accounts are those of /etc/passwd
    sources = next((line.partition(":")[2].split() for line in lines if line.startswith("passwd:")), [])
    return bool(_DIRECTORIES & set(sources))
