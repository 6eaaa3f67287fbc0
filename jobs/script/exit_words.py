"""What an exit status of a command says, in words. Pure."""

from __future__ import annotations

import re
import signal

_SHELL_SIGNAL = 128
_MEMORY = re.compile(
    r"^(?:MemoryError\b.*|.*\bOutOfMemoryError: .*|.*CUDA out of memory.*|.*\bstd::bad_alloc\b.*"
    r"|memory allocation of \d+ bytes failed|.*Cannot allocate memory.*)$",
    re.MULTILINE,
)


def exit_words(code: int) -> str:
    """Say how a command ended; *code* as `subprocess` gives it, negative for a signal."""
    if code < 0:
        return f"was ended by {_signal_name(-code)}"
    if code > _SHELL_SIGNAL and (name := _signal_name(code - _SHELL_SIGNAL)).startswith("SIG"):
        return f"exited with status {code} (as shells say that a command was ended by {name})"
    what = {126: " (found, but cannot be executed)", 127: " (a command in it was not found)"}.get(code, "")
    return f"exited with status {code}{what}"


def memory_words(last_output: str) -> str | None:
    """Return the last line that says that memory ran out; None: there is none. Only asked after a failure."""
    found = _MEMORY.findall(last_output.replace("\r", "\n"))
    return str(found[-1]).strip()[:300] if found else None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
