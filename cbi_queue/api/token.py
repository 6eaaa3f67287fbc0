"""The token that changes need: created once, in a file that only its owner can read.

Anyone who can read the file can use the command line as well, so the token grants nothing new. It keeps out
everything else that can reach the port: other accounts, pages in a browser. It is read at each request, so a new one
takes effect at once.
"""

from __future__ import annotations

import hmac
import secrets
from typing import TYPE_CHECKING, Annotated

from fastapi import HTTPException, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from cbi_queue.artifacts import write_atomic

if TYPE_CHECKING:
    from cbi_queue.settings import Settings

TOKEN_BYTES = 32
_OTHERS_BITS = 0o077

_bearer = HTTPBearer(auto_error=False, description="The text of the file `api-token` in the state folder.")


def ensure_token(settings: Settings) -> str:
    """Return the token; create one when there is none, or when others could have read it."""
    token = read_token(settings)
    if token is None or settings.token_path.stat().st_mode & _OTHERS_BITS:
        settings.make_state_dir()
        token = secrets.token_urlsafe(TOKEN_BYTES)
        write_atomic(settings.token_path, f"{token}\n".encode())
    return token


def read_token(settings: Settings) -> str | None:
    """Return the token, or None when there is none."""
    try:
        return settings.token_path.read_text(encoding="ascii").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def require_token(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
) -> None:
    """Refuse the request unless it carries the token.

    Raises:
        HTTPException: 401, with the path of the token.
    """
    settings: Settings = request.app.state.settings
    token = read_token(settings)
    given = credentials.credentials.encode() if credentials else b""
    if token is None or not hmac.compare_digest(given, token.encode()):
        what = "the token is wrong" if credentials else "changes need a token, and none was sent"
        hint = f"send `Authorization: Bearer TOKEN`; the token is in {settings.token_path}"
        raise HTTPException(401, {"error": what, "hint": hint}, headers={"WWW-Authenticate": "Bearer"})
