"""One frozen `Settings`: the settings and their defaults (`values`), and how they are read (`sources`)."""

from __future__ import annotations

from cbi_queue.settings.sources import ENVIRONMENT, load_settings
from cbi_queue.settings.values import Settings

__all__ = ["ENVIRONMENT", "Settings", "load_settings"]
