"""Watch the data volume: while it is missing, a hold with reason `volume` closes the slot."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from cbi_queue.errors import VolumeMissing
from cbi_queue.ledger.holds import holds_in_force, lift_hold, place_hold
from cbi_queue.lifecycle import HoldMode, HoldReason

if TYPE_CHECKING:
    from cbi_queue.ledger import Ledger
    from cbi_queue.settings import Settings

logger = logging.getLogger(__name__)


def watch_volume(settings: Settings, ledger: Ledger, *, make: bool = False) -> bool:
    """Check the volume once, and place or lift its hold; return True if the data can be used.

    Args:
        settings: name the volume and the folders on it.
        ledger: open for writing.
        make: create the folders too, as at boot; when the volume is back they are created anyway.
    """
    held = any(hold.reason is HoldReason.VOLUME for hold in holds_in_force(ledger))
    words = _what_is_wrong(settings, make=make or held)
    if words is not None:
        if not held:
            logger.warning("event=volume.unusable why=%r", words)
            place_hold(ledger, HoldReason.VOLUME, HoldMode.EVICT, words)
        return False
    if held:
        logger.info("event=volume.back path=%s", settings.volume)
        lift_hold(ledger, HoldReason.VOLUME, _back_words(settings))
    return True


def _what_is_wrong(settings: Settings, *, make: bool) -> str | None:
    """Return why the data cannot be used, or None; *make* the folders first."""
    try:
        settings.require_volume()
        if make:
            settings.make_layout()
    except VolumeMissing as exc:
        return exc.message
    except OSError as exc:
        return f"the data folders below {settings.repo} cannot be created: {exc}"
    return None


def _back_words(settings: Settings) -> str:
    if settings.volume is None:
        return "a data volume is no longer configured"
    return f"the data volume {settings.volume} is mounted again"
