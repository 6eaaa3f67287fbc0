"""Every exception of cbi-queue.

The tree::

    CbiError
    ├─ Refused              input that cannot be accepted; nothing was changed (exit 2)
    │  ├─ SettingsError     a setting or environment variable is unusable
    │  ├─ PlanError         a day plan has one or more complaints
    │  └─ UnknownJob        no job has the name or number given
    ├─ LedgerError          the database cannot be used
    │  ├─ LedgerBusy        another program kept it locked for too long
    │  ├─ LedgerLost        its file was deleted or replaced while in use
    │  └─ StaleTransition   the job was no longer in the state the change starts from
    ├─ SlotTaken            another daemon holds the slot (exit 75)
    ├─ SlotStuck            a process that is not a daemon holds it and does not end
    ├─ VolumeMissing        the configured data volume is not mounted
    ├─ ProtocolError        a line between slot and trainer is not valid
    └─ ServiceError         launchd or systemd refused a command

A class exists only where someone catches it. A message says what was attempted, on which thing,
the value seen, what is allowed, and what to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class CbiError(Exception):
    """Something went wrong in cbi-queue."""

    exit_code: int = 1

    def __init__(self, message: str | None = None, *, hint: str | None = None) -> None:
        """Keep *message* (default: the class docstring) and an optional *hint* on what to do."""
        self.message = message or (type(self).__doc__ or "").strip().splitlines()[0]
        self.hint = hint
        super().__init__(self.message)


class Refused(CbiError):
    """The input was refused; nothing was changed."""

    exit_code = 2


class SettingsError(Refused):
    """A setting is unusable."""


class PlanError(Refused):
    """The day plan has complaints."""

    def __init__(self, complaints: Sequence[str], effect: str = "") -> None:
        """Store every complaint; each names file, line and key. *effect*: what did not happen because of them."""
        self.complaints = tuple(complaints)
        count = len(self.complaints)
        noun = "complaint" if count == 1 else "complaints"
        super().__init__(f"{count} {noun}{effect}\n" + "\n".join(self.complaints))


class UnknownJob(Refused):
    """No job has that name or number."""


class LedgerError(CbiError):
    """The ledger cannot be used."""


class LedgerBusy(LedgerError):
    """Another program kept the ledger locked."""

    exit_code = 75


class LedgerLost(LedgerError):
    """The ledger's file was deleted, replaced or damaged while the daemon used it."""


class StaleTransition(LedgerError):
    """The job was no longer in the state that the change starts from."""

    def __init__(self, message: str, *, job_id: int, state: str | None) -> None:
        """Store the job and its actual state (None: the job does not exist)."""
        self.job_id = job_id
        self.state = state
        super().__init__(message)


class SlotTaken(CbiError):
    """Another daemon holds the slot."""

    exit_code = 75

    def __init__(self, message: str, *, holder_pid: int | None) -> None:
        """Store the process that holds the slot, where it is known."""
        self.holder_pid = holder_pid
        super().__init__(message)


class SlotStuck(CbiError):
    """A process that is not a daemon holds the slot and does not end."""


class VolumeMissing(CbiError):
    """The configured data volume is not mounted."""


class ProtocolError(CbiError):
    """A line between slot and trainer is not valid."""


class ServiceError(CbiError):
    """The service manager refused."""
