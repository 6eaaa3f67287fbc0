"""Watch the data volume: while it is missing or cannot be opened, a hold with reason `volume` closes the slot."""

from __future__ import annotations

import errno
import logging
import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING

from cbi_queue import clock
from cbi_queue.disk_access import why_refused, with_remedy
from cbi_queue.errors import LedgerError, VolumeMissing
from cbi_queue.ledger.holds import holds_in_force, lift_hold, place_hold
from cbi_queue.lifecycle import HoldMode, HoldReason
from cbi_queue.models_owner import claim_models
from cbi_queue.regular_files import plain_words

if TYPE_CHECKING:
    from cbi_queue.ledger import Ledger
    from cbi_queue.settings import Settings

logger = logging.getLogger(__name__)

PROBE_EVERY = 15
"""Checks between two probes of data that could not be opened: a probe starts a process."""


class VolumeWatch:
    """Places the hold and lifts it. Whether data can be opened is probed at boot and while the hold is in force."""

    def __init__(self, settings: Settings) -> None:
        """Watch the volume and the folders of *settings*."""
        self._settings = settings
        self._next_probe_s = 0.0

    def check(self, ledger: Ledger, *, boots: bool = False) -> bool:
        """Check once, and place or lift the hold; return True if the data can be used.

        Args:
            ledger: open for writing.
            boots: the daemon has just started: create the folders, and probe them.
        """
        held = volume_hold_words(ledger)
        words = self._what_is_wrong(held, probes=boots or held is not None)
        if words is not None:
            if words != held:
                place_volume_hold(ledger, words)
            return False
        if held is not None:
            logger.info("event=volume.back path=%s", self._settings.volume)
            lift_hold(ledger, HoldReason.VOLUME, _back_words(self._settings))
        return True

    def _what_is_wrong(self, held: str | None, *, probes: bool) -> str | None:
        """Return why the data cannot be used, or None."""
        settings = self._settings
        try:
            settings.require_volume()
        except VolumeMissing as exc:
            self._next_probe_s = 0.0
            return exc.message
        if not probes:
            return None
        if clock.monotonic_s() < self._next_probe_s:
            return held
        words = _why_unusable(settings)
        self._next_probe_s = clock.monotonic_s() + PROBE_EVERY * settings.volume_check_s if words else 0.0
        return words


def hold_if_unusable(settings: Settings, ledger: Ledger) -> bool:
    """Look after an error that the data may have caused; return True and place the hold if they cannot be used.

    A hold that cannot be written now is placed by the watch.
    """
    words = _why_unusable(settings)
    if words is not None:
        with suppress(LedgerError, sqlite3.Error):
            place_volume_hold(ledger, words)
    return words is not None


def _why_unusable(settings: Settings) -> str | None:
    """Create the folders, open, write and read; return why the data cannot be used, or None."""
    try:
        settings.make_layout()
    except VolumeMissing as exc:
        return exc.message
    except OSError as exc:
        seen = f"the data folders below {settings.repo} cannot be created: {plain_words(exc)}"
        return with_remedy(seen, may_be_privacy=exc.errno == errno.EPERM)
    return why_refused(settings) or claim_models(settings)


def volume_hold_words(ledger: Ledger) -> str | None:
    """Return the words of the hold; None when it is not in force."""
    return next((hold.words for hold in holds_in_force(ledger) if hold.reason is HoldReason.VOLUME), None)


def place_volume_hold(ledger: Ledger, words: str) -> None:
    """Close the slot with *words*."""
    logger.warning("event=volume.unusable why=%r", words)
    place_hold(ledger, HoldReason.VOLUME, HoldMode.EVICT, words)


def _back_words(settings: Settings) -> str:
    if settings.volume is None:
        return "the data can be used again"
    return f"the data volume {settings.volume} can be used again"
