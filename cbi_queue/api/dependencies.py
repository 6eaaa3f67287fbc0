"""What FastAPI passes to the routes: the settings that the app was created with."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from cbi_queue.settings import Settings


async def settings_of(request: Request) -> Settings:
    """Return the settings of the app that answers *request*."""
    settings: Settings = request.app.state.settings
    return settings


AppSettings = Annotated[Settings, Depends(settings_of)]
"""Type of a route's parameter that receives the settings."""
