"""Sends the bytes of a shared answer again to whoever asks the same, past routes and models.

Between two makings of an answer, dozens of requests get the same bytes. What the framework does for each of them
(routes, parameters, headers) costs several times what it takes to send them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cbi_queue.api.access import may_change_now
from cbi_queue.api.shared_answers import MOST_KEPT, forget_given, given_now

if TYPE_CHECKING:
    from collections.abc import Hashable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from cbi_queue.api.shared_answers import Made, SharedAnswers

TELL_APART: Final = frozenset({b"accept", b"if-none-match"})
"""Headers on which the answer to a request depends, beside the right of its sender."""

LARGEST_BYTES: Final = 1 << 18
"""Largest answer that is kept: a larger one takes longer to send than to route."""


class SentAgain:
    """Keeps what was sent of shared answers."""

    def __init__(self, app: ASGIApp, answers: SharedAnswers) -> None:
        """Wrap *app*, whose routes share *answers*."""
        self._app, self._answers = app, answers
        self._sent: dict[Hashable, tuple[Made, list[Message]]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send what was sent for the same request while it is new; else pass the request on."""
        if scope["type"] != "http" or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        headers = tuple(pair for pair in scope["headers"] if pair[0] in TELL_APART)
        key = (scope["raw_path"], scope["query_string"], headers, may_change_now())
        known = self._sent.get(key)
        if known is not None and self._answers.is_new(known[0]):
            for message in known[1]:
                await send(message)
            return
        messages: list[Message] = []

        async def send_and_keep(message: Message) -> None:
            if given_now() is not None:
                messages.append(message)
            await send(message)

        forget_given()
        await self._app(scope, receive, send_and_keep)
        size = sum(len(message.get("body", b"")) for message in messages)
        if (made := given_now()) is not None and size <= LARGEST_BYTES:
            self._sent.pop(key, None)
            self._sent[key] = made, messages
            while len(self._sent) > MOST_KEPT:
                del self._sent[next(iter(self._sent))]
