"""The token that changes need: created once, in a file that only its owner can read.

Anyone who can read the file can use the command line as well, so the token grants nothing new. It keeps out
everything else that can reach the port: other accounts, pages in a browser. It is read at each request, so a new one
takes effect at once.
"""

from __future__ import annotations

import hmac
import secrets
from typing import TYPE_CHECKING

from fastapi.security import HTTPBearer

from cbi_queue.artifacts import write_atomic
from cbi_queue.regular_files import check_file, read_text

if TYPE_CHECKING:
    from cbi_queue.settings import Settings

TOKEN_BYTES = 32
_OTHERS_BITS = 0o077

bearer = HTTPBearer(auto_error=False, description="The text of the file `api-token` in the state folder.")
"""How the OpenAPI document says that a route needs the token; `middleware.Guard` checks it."""


def ensure_token(settings: Settings) -> str:
    """Return the token; create one when there is none, or when others could have read it.

    Raises:
        OSError: when something else than a file is in its place, or it cannot be written.
    """
    check_file(settings.token_path)
    token = read_token(settings)
    if token is None or settings.token_path.lstat().st_mode & _OTHERS_BITS:
        settings.make_state_dir()
        token = secrets.token_urlsafe(TOKEN_BYTES)
        write_atomic(settings.token_path, f"{token}\n".encode())
    return token


def read_token(settings: Settings) -> str | None:
    """Return the token, or None when there is none."""
    try:
        return read_text(settings.token_path, encoding="ascii").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def why_no_change(settings: Settings, authorization: str | None) -> tuple[str, str] | None:
    """Return error and hint for a change whose Authorization header does not carry the token; None if it does."""
    token = read_token(settings)
    scheme, _, given = (authorization or "").strip().partition(" ")
    if token is not None and scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode()):
        return None
    what = "the token is wrong" if authorization else "changes need a token, and none was sent"
    return what, f"send `Authorization: Bearer TOKEN`; the token is in {settings.token_path}"
