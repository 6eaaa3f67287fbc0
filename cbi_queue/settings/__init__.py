"""One frozen `Settings`: the settings and their defaults (`values`), and how they are read (`sources`)."""

from __future__ import annotations

from cbi_queue.settings.sources import ENVIRONMENT, SURELY_MEANT, load_settings, unknown_variables
from cbi_queue.settings.values import Settings

__all__ = ["ENVIRONMENT", "SURELY_MEANT", "Settings", "load_settings", "unknown_variables"]
