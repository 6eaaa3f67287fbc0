"""Models of installed packages: found by the entry point group `cbi_queue.families`, checked, or refused with the reason.

An entry point loads to a mapping of names to `ModelEntry`, or a list of such pairs. Nothing that a package does wrong leaves
this module as an exception, because the daemon reads the rows too: what cannot be used is a `Fault`, which `doctor` and
`plan check` report. Only packages that are installed count; the working directory is not searched. See docs/families.md.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import signal
import sys
import threading
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from cbi_queue.models.entry import ModelEntry
from cbi_queue.models.kinds import Family
from cbi_queue.models.memory_formulas import TABLE, MemoryFormula, Shape

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from importlib.metadata import EntryPoint

GROUP = "cbi_queue.families"
KIND_MARK = "-"
"""Stands in every kind of net from outside, as in `acme-wavenet`: a profile may name such a kind whatever is installed."""
NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_REFERENCE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_LONGEST_REASON = 200
LOADS_WITHIN_S = 20.0
"""Seconds that a package may take to load its catalogue; one that hangs must not stop the daemon."""
_OF_THE_USER = "Ctrl-C"
_DATA = Shape(1000, 10, "a check")


@dataclass(frozen=True, slots=True)
class Fault:
    """What was refused of a package."""

    package: str
    why: str

    def __str__(self) -> str:
        return f"package {self.package}: {self.why}"


@dataclass(frozen=True, slots=True)
class Outside:
    """The models of installed packages."""

    models: Mapping[str, ModelEntry]
    packages: Mapping[str, str]
    """Model -> name and version of its package."""
    faults: tuple[Fault, ...]

    @property
    def fault_words(self) -> str:
        """What to append to a complaint about an unknown model; empty without faults."""
        return "".join(f"; {fault}" for fault in self.faults)


def find_outside(shipped: Mapping[str, ModelEntry]) -> Outside:
    """Find and check the models of installed packages. A name that two packages claim is refused to both."""
    faults: list[Fault] = []
    rows: list[tuple[str, str, ModelEntry]] = []
    for package, point in _entry_points(faults):
        try:
            with _tamed():
                loaded = dict(point.load())
        except KeyboardInterrupt as exc:
            if exc.args == (_OF_THE_USER,):
                raise
            faults.append(Fault(package, f"its entry point {point.name!r} cannot be loaded: {_reason(exc)}"))
            continue
        except BaseException as exc:  # noqa: BLE001 - the code of a package may raise anything
            faults.append(Fault(package, f"its entry point {point.name!r} cannot be loaded: {_reason(exc)}"))
            continue
        for name, entry in loaded.items():
            if (why := _why_not(name, entry, shipped)) is None:
                checked = replace(entry, family=Family(entry.family), memory=_guarded(entry.memory))
                rows.append((name, package, checked))
            else:
                faults.append(Fault(package, f"its model {name!r} is refused: {why}"))
    claims = Counter(name for name, _, _ in rows)
    for name, package, _ in rows:
        if claims[name] > 1:
            rivals = ", ".join(other for taken, other, _ in rows if taken == name and other != package)
            faults.append(Fault(package, f"its model {name!r} is refused: {rivals or 'it'} declares that name as well"))
    usable = [row for row in rows if claims[row[0]] == 1]
    return Outside({n: entry for n, _, entry in usable}, {n: package for n, package, _ in usable}, tuple(faults))


@contextlib.contextmanager
def _tamed() -> Iterator[None]:
    """Limit what the code of a package can do in the body: it prints to standard error, and takes `LOADS_WITHIN_S` at most.

    A package that raises KeyboardInterrupt is told from the user's Ctrl-C, and `os._exit` ends only the package. Nothing
    helps against code in C that never returns. Threads other than the main one have no limit: only that can be interrupted.
    """

    def too_long(_signum: int, _frame: object) -> None:
        raise TimeoutError(f"it was still loading after {LOADS_WITHIN_S:g} s")

    def ctrl_c(_signum: int, _frame: object) -> None:
        raise KeyboardInterrupt(_OF_THE_USER)

    leave = os._exit

    def leave_unless_package(status: int) -> NoReturn:
        if threading.current_thread() is threading.main_thread():
            raise SystemExit(f"it called os._exit({status})")
        leave(status)

    with contextlib.redirect_stdout(sys.stderr):
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        interrupts = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        before = signal.signal(signal.SIGALRM, too_long)
        if interrupts:
            signal.signal(signal.SIGINT, ctrl_c)
        os._exit = leave_unless_package
        left_s, _ = signal.setitimer(signal.ITIMER_REAL, LOADS_WITHIN_S, 1.0)  # again, in case the package catches it
        try:
            yield
        finally:
            os._exit = leave
            signal.setitimer(signal.ITIMER_REAL, left_s)
            signal.signal(signal.SIGALRM, before)
            if interrupts:
                signal.signal(signal.SIGINT, signal.default_int_handler)


def _entry_points(faults: list[Fault]) -> Iterator[tuple[str, EntryPoint]]:
    """Return each entry point of the group with its package; of a package that is installed twice, the first."""
    from importlib.metadata import distributions

    seen = set()
    for package in distributions(path=_searched()):
        try:
            points = package.entry_points.select(group=GROUP)
            words = f"{package.name} {package.version}" if points else ""
        except Exception as exc:  # noqa: BLE001 - metadata may be torn in any way
            faults.append(
                Fault(str(getattr(package, "_path", package)), f"its metadata cannot be read: {_reason(exc)}")
            )
            continue
        if points and package.name not in seen:
            seen.add(package.name)
            for point in points:
                yield words, point


def _searched() -> list[str]:
    """Return the folders of Python's path without the working directory, which `python -m` puts first."""
    try:
        here = Path.cwd()
    except OSError:
        here = None
    return [folder for folder in sys.path if folder and Path(folder).resolve() != here]


def _why_not(name: object, entry: object, shipped: Mapping[str, ModelEntry]) -> str | None:
    """Return why a row cannot be used; None when it can."""
    kinds = {each.batch_kind for each in shipped.values()}
    if not isinstance(name, str) or not NAME.fullmatch(name):
        return f"a name is made of lower-case letters, digits and underscores, at most 40, like {NAME.pattern}"
    if name in shipped:
        return "a model of cbi-queue has that name"
    if not isinstance(entry, ModelEntry):
        return f"it is a {type(entry).__name__}, not a ModelEntry"
    try:
        return _why_not_values(entry, kinds)
    except (Exception, SystemExit) as exc:  # noqa: BLE001 - the code of a package may raise anything
        return _reason(exc)


def _why_not_values(entry: ModelEntry, kinds: set[str | None]) -> str | None:
    from cbi_queue.models.parameters.common import ModelParams

    if entry.family not in set(Family):
        return f"its family is {entry.family!r}; allowed: {', '.join(Family)}"
    if not entry.trainers or not all(_REFERENCE.fullmatch(trainer) for trainer in entry.trainers.values()):
        return f"its trainers are {entry.trainers!r}; allowed: a runtime each, with 'module:Class'"
    if entry.batch_kind not in kinds and KIND_MARK not in str(entry.batch_kind):
        return (
            f"its batch_kind is {entry.batch_kind!r}; allowed: one of cbi-queue, or one with a dash like 'acme-wavenet'"
        )
    if ModelParams not in entry.params.__mro__:
        return f"its parameter class {entry.params_class} is not a ModelParams"
    defaults = entry.params().model_dump(mode="json")
    line, found = entry.memory.line, entry.memory.mib(defaults, _DATA, 1)
    if not (0 < found < math.inf and line.base_mib + line.spread_mib + (1 + line.doubt) * line.factor * found >= 0):
        return "its memory formula gives no amount above zero for the default parameters"
    return None


def _guarded(formula: MemoryFormula) -> MemoryFormula:
    """Return *formula*, or the table of the data where it fails: an estimate must not stop the queue."""

    def mib(params: Mapping[str, Any], data: Shape, micro_batch: int) -> float:
        try:
            found = float(formula.mib(params, data, micro_batch))
        except Exception:  # noqa: BLE001 - the code of a package may raise anything
            found = math.nan
        return found if 0 < found < math.inf else TABLE.mib(params, data, micro_batch)

    return MemoryFormula(mib, formula.line)


def _reason(exc: BaseException) -> str:
    return f"{type(exc).__name__}: {' '.join(str(exc).split())}"[:_LONGEST_REASON]
