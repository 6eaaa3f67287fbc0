"""Watch the data volume: when it is gone the slot holds with reason `volume`; when it returns the slot goes on."""

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
    """Look once: place or lift the volume's hold; tell whether the data are there.

    Args:
        settings: name the volume and the folders on it.
        ledger: open for writing.
        make: make the folders too, as at boot; when the volume has come back they are made anyway.
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
    """Say why the data cannot be used, or None; *make* the folders as well, when the volume has just come back."""
    try:
        settings.require_volume()
        if make:
            settings.make_layout()
    except VolumeMissing as exc:
        return exc.message
    except OSError as exc:
        return f"the data folders below {settings.repo} cannot be made: {exc}"
    return None


def _back_words(settings: Settings) -> str:
    if settings.volume is None:
        return "no data volume is configured any more"
    return f"the data volume {settings.volume} is mounted again"
