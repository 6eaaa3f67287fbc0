"""Checks for what would stop, slow or endanger the queue on this machine, each with its remedy.

Changes nothing, except that it creates the state folder and writes one probe file, deleted at once, in the data folder.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from typing import TYPE_CHECKING

from cbi_queue import background_work, clock
from cbi_queue.datasets.choices import for_dataset
from cbi_queue.datasets.description import read_description
from cbi_queue.datasets.inspection import Request, inspect_exports
from cbi_queue.datasets.place import DEFAULT, every_exports_dir, exports_in
from cbi_queue.disk_access import why_refused
from cbi_queue.errors import CbiError
from cbi_queue.findings import Finding, bad, note, ok
from cbi_queue.hardware.detection import profile_for
from cbi_queue.ledger import Ledger
from cbi_queue.ledger.backups import backup_paths
from cbi_queue.ledger.connection import file_system_of, is_unsafe
from cbi_queue.ledger.damage import sample_runs
from cbi_queue.ledger.holds import holds_in_force
from cbi_queue.ledger.queries import last_backup_event
from cbi_queue.ledger.schema import RESTORE_HINT, SCHEMA_VERSION, damage_of, schema_version, why_lost
from cbi_queue.lifecycle import HoldReason
from cbi_queue.models.catalogue import MODELS, outside
from cbi_queue.models_owner import taken_by_another
from cbi_queue.notifications.happenings import LOW_SPACE_GIB
from cbi_queue.notifications.state import failures
from cbi_queue.openmp import HOMEBREW, openmp_of, remedy_for
from cbi_queue.runtimes import BACKENDS, runtime_of
from cbi_queue.runtimes.probing import code_digest, import_errors, probe_runtime
from cbi_queue.settings import unknown_variables
from cbi_queue.settings.state_folder import open_parents
from cbi_queue.text_model import ELSEWHERE, fault_in
from cbi_queue.tracking.tracker import tracking_words
from cbi_queue.values.words import unknown
from cbi_queue.views.forecast import all_flags
from cbi_queue.views.sensors import read_sensors
from cbi_queue.views.snapshot import daemon_status, open_snapshot
from cbi_queue.wording import DAY_S, counted, memory_size, span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future
    from pathlib import Path

    from cbi_queue.settings import Settings

    _Check = Callable[[Settings], Iterator[Finding]]

WAL_RESET_FIXED = (3, 51, 3)
"""First SQLite without the WAL-reset race between two connections that checkpoint; cbi-queue avoids it in any case."""
STALE_BACKUP_S = 2 * DAY_S
"""Seconds since the last backup from which one is overdue."""
MOST_SAMPLED_BYTES = 256 << 20
"""Most that the runs of the sample hold together: about a second of reading."""
LIBRARIES = ("polars", "lightgbm", "xgboost", "statsforecast", "torch")
NET_LIBRARIES = {"tensorflow": ("polars", "safetensors", "tensorflow")}
"""What a backend with a separate runtime needs instead."""
NEVER_SEEN = "never seen above 0"
"""Part of the source of a thermal level of macOS that has been nominal so far."""
PROVE_LEVEL = (
    "prove it once while the daemon runs: sudo thermal simulate cpu heavy; sleep 5; sudo thermal simulate cpu nominal"
)


def examine(settings: Settings) -> Iterator[Finding]:
    """Run every check and yield what they find, in order, each finding once it is known.

    What waits for other processes runs beside the rest. The sensors come before the libraries, whose loading they would
    take for the work of others.
    """
    checks: tuple[_Check, ...] = (
        _settings, _versions, _state_disk, _ledger, _volume, _repo, _families, _openmp, _runtimes, _exports,
        _headlines, _runs, _forecasts, _tracking, _daemon, _sensors, _background,
    )  # fmt: skip
    settings.make_state_dir()
    outside()  # in this thread, where a package that hangs is ended
    with ThreadPoolExecutor(3) as pool:
        sensed = pool.submit(_found, _sensors, settings)
        begun: dict[_Check, Future[list[Finding]]] = {_sensors: sensed}
        begun |= {check: pool.submit(_found, check, settings, sensed) for check in (_runtimes, _exports)}
        for check in checks:
            yield from begun[check].result() if check in begun else check(settings)


def _found(check: _Check, settings: Settings, *after: Future[list[Finding]]) -> list[Finding]:
    wait(after)
    return list(check(settings))


def _settings(settings: Settings) -> Iterator[Finding]:
    source = str(settings.config_file) if settings.config_file else "environment and defaults"
    yield ok("settings", f"from {source}; the trainer uses {counted(settings.threads, 'thread')}")
    for words in unknown_variables():
        yield note("environment", words, "correct its name or unset it; docs/settings.md lists the settings")
    try:
        chosen = profile_for(settings.profile, settings.profiles_dir)
    except CbiError as exc:
        yield bad("hardware profile", exc.message, "set CBI_PROFILE to a known profile, or correct the file")
        return
    name, limit = f"{chosen.profile.name} ({chosen.why})", chosen.profile.working_set_mib
    if limit is None:
        advice = "set CBI_PROFILE to a profile with memory figures; until then no job is checked for memory"
        yield note("hardware profile", f"{name}; the memory limit of a trainer is not known", advice)
    else:
        yield ok("hardware profile", f"{name}; {memory_size(limit)} for one trainer")


def _versions(_settings: Settings) -> Iterator[Finding]:
    yield ok("python", f"{sys.version.split()[0]} at {sys.executable}")
    if sqlite3.sqlite_version_info >= WAL_RESET_FIXED:
        yield ok("sqlite", sqlite3.sqlite_version)
    else:
        seen = f"{sqlite3.sqlite_version}, older than 3.51.3 with the WAL-reset fix"
        yield note("sqlite", seen, "no action needed: only the daemon's connection checkpoints while it runs")


def _state_disk(settings: Settings) -> Iterator[Finding]:
    kind = file_system_of(settings.state_dir)
    seen = f"{settings.state_dir} on {kind or 'an unknown file system'}"
    if is_unsafe(kind):
        yield bad("state folder", seen, "set CBI_STATE_DIR to a folder on the internal disk")
    elif not os.access(settings.state_dir, os.W_OK):
        yield bad("state folder", f"{seen}, cannot be written", "make it writable, or set CBI_STATE_DIR")
    elif parents := open_parents(settings.state_dir):
        advice = f"`chmod o-w {parents[0]}`: another account could put a folder in the place of yours"
        yield note("state folder", f"{seen}, below {parents[0]}, where everyone may rename it", advice)
    else:
        yield ok("state folder", seen)
    yield from _space("state folder", settings.state_dir)


def _space(subject: str, folder: Path) -> Iterator[Finding]:
    stats = os.statvfs(folder)
    free_gib = stats.f_bavail * stats.f_frsize / 2**30
    if free_gib < LOW_SPACE_GIB:
        yield note(f"{subject}, space", f"{free_gib:.1f} GiB free", f"free at least {LOW_SPACE_GIB:.0f} GiB")
    else:
        yield ok(f"{subject}, space", f"{free_gib:.1f} GiB free")


def _ledger(settings: Settings) -> Iterator[Finding]:
    try:
        version = schema_version(settings.ledger_path)
    except CbiError as exc:
        yield bad("ledger", exc.message, exc.hint)
        return
    if version > SCHEMA_VERSION:
        seen = f"{settings.ledger_path} has schema {version}; this cbi-queue supports up to {SCHEMA_VERSION}"
        yield bad("ledger", seen, "upgrade cbi-queue")
    elif version == 0 and (lost := why_lost(settings.ledger_path)) is not None:
        yield bad("ledger", lost, RESTORE_HINT)
    elif version == 0:
        yield ok("ledger", f"{settings.ledger_path} does not exist yet; the first command that needs it creates it")
    elif (fault := damage_of(settings.ledger_path)) is not None:
        advice = "stop the daemon; `cbi-queue restore` lists the backups and restores one"
        yield bad("ledger", f"{settings.ledger_path} is damaged: {fault}", advice)
    else:
        yield ok("ledger", f"{settings.ledger_path}, schema {version} of {SCHEMA_VERSION}")
        if version == SCHEMA_VERSION:
            yield _backups(settings)


def _backups(settings: Settings) -> Finding:
    """Report the last daily backup: one that failed was otherwise seen in the daemon's log only."""
    with Ledger.open_readonly(settings.ledger_path) as ledger:
        event = last_backup_event(ledger)
    found = backup_paths(settings.backup_dir)
    held = f"{counted(len(found), 'backup')} in {settings.backup_dir}"
    if event is not None and event.event == "backup_failed":
        advice = "make room on its disk and make the folder writable; the daemon tries again the next day (UTC)"
        return bad("daily backup", f"{event.words}, {span(clock.epoch_s() - event.at)} ago; {held}", advice)
    if event is None or not found:
        return ok("daily backup", f"{held}; a running daemon makes one a day")
    age_s = clock.epoch_s() - event.at
    seen = f"{held}, the last made {span(age_s)} ago"
    is_known_new = -DAY_S < age_s < STALE_BACKUP_S
    return ok("daily backup", seen) if is_known_new else note("daily backup", seen, "start the daemon")


def _volume(settings: Settings) -> Iterator[Finding]:
    if settings.volume is None:
        yield ok("data volume", "none configured (EXTERNAL_DRIVE)")
        return
    try:
        settings.require_volume()
    except CbiError as exc:
        yield bad("data volume", exc.message, exc.hint)
    else:
        yield ok("data volume", f"{settings.volume} is mounted")


def _repo(settings: Settings) -> Iterator[Finding]:
    if not settings.repo.exists():
        yield note("data folder", f"{settings.repo} does not exist yet", "`cbi-queue data sample` creates it")
        return
    refused = why_refused(settings, permissions=True)
    if refused is None and (taken := taken_by_another(settings)) is not None:
        yield bad("data folder", *_in_two(taken))
    elif refused is None:
        yield ok("data folder", f"{settings.repo} can be read and written from here")
        yield from _space("data folder", settings.repo)
    else:
        yield bad("data folder", *_in_two(refused))


def _in_two(words: str) -> tuple[str, str]:
    """Split what was seen from what to do."""
    seen, _, advice = words.partition("; ")
    return seen, advice


def _families(_settings: Settings) -> Iterator[Finding]:
    found = outside()
    for package in dict.fromkeys(found.packages.values()):
        models = ", ".join(model for model, of in found.packages.items() if of == package)
        yield Finding(f"package {package}", "ok", f"models {models}")
    for fault in found.faults:
        yield Finding(f"package {fault.package}", "bad", fault.why, "update the package, or uninstall it")


def _runtimes(settings: Settings) -> Iterator[Finding]:
    installed = {backend for backend in BACKENDS if runtime_of(settings, backend).origin == "installed"}
    known = {backend for model in MODELS.values() for backend in model.backends}
    probe = cache(probe_runtime)
    for backend in sorted({"native", "torch", *installed, *settings.runtimes}):
        interpreter = settings.interpreter_for(backend)
        subject, again = f"runtime {backend}", f"run `cbi-queue runtime install {backend}`"
        if backend not in known:
            unused = f"unused: {unknown('backend', backend, sorted(known))}"
            yield bad(subject, unused, "correct [runtimes] in the settings file")
            continue
        libraries = NET_LIBRARIES.get(backend, LIBRARIES)
        probed = probe(interpreter, libraries)
        if probed is None:
            yield bad(subject, f"{interpreter} does not start", "correct [runtimes] in the settings file")
            continue
        missing, code = probed
        broken = {} if missing else import_errors(interpreter, libraries)
        if "jobs" in missing:
            yield bad(subject, f"{interpreter} does not have cbi-queue", "install cbi-queue there")
        elif missing and backend in NET_LIBRARIES:
            yield bad(subject, f"{interpreter} does not have {', '.join(missing)}", again)
        elif missing:
            advice = "install cbi-queue[train] there; jobs that need these libraries fail until then"
            yield note(subject, f"{interpreter} does not have {', '.join(missing)}", advice)
        elif broken:
            error = next(iter(broken.values()))
            yield note(subject, f"{interpreter} cannot import {', '.join(broken)}: {error[:200]}", remedy_for(error))
        elif code != code_digest():
            advice = again if backend in installed else "install this cbi-queue there again"
            yield note(subject, f"{interpreter} has other trainer code than this cbi-queue", advice)
        else:
            yield ok(subject, interpreter)


def _openmp(_settings: Settings, platform: str = sys.platform) -> Iterator[Finding]:
    """Tell which OpenMP library the tree models get: only on a Mac they do not bring or find one by themselves."""
    if platform != "darwin":
        return
    if (found := openmp_of(sys.executable)) == HOMEBREW:
        yield ok("OpenMP", f"LightGBM and XGBoost load {found}")
        return
    seen = "Homebrew's is not installed"
    used = "no copy was found" if found is None else f"LightGBM and XGBoost load torch's copy, {found}"
    yield note("OpenMP", f"{seen}; {used}", "run `brew install libomp`")


def _exports(settings: Settings) -> Iterator[Finding]:
    found = [path for folder in every_exports_dir(settings.exports_dir) for path in exports_in(folder)]
    if not found:
        advice = "`cbi-queue data import FILE` brings your own data, `cbi-queue data sample` builds sample exports"
        yield note("exports", f"none in {settings.exports_dir}", advice)
        return
    yield ok("exports", f"{counted(len(found), 'file')} in {settings.exports_dir} and named data sets")
    interpreter, requests = settings.interpreter_for("native"), [Request(path) for path in found]
    checked = inspect_exports(interpreter, requests, settings.checks_path, settings.hashes_path)
    if checked is None:
        yield note("exports", "were not opened: the trainers' Python lacks its libraries", None)
        return
    for path, inspection in zip(found, checked, strict=True):
        subject = f"export {path.name}" if path.parent == settings.exports_dir else f"export {path}"
        dataset = DEFAULT if path.parent == settings.exports_dir else path.parent.parent.name
        for fault in (for_dataset(words, dataset) for words in inspection.faults):
            if fault.startswith("no column"):
                yield note(subject, fault, "a plan may name other columns: `date_column`, `price_column`")
            else:
                yield bad(subject, fault, "`cbi-queue data check` shows the whole data set")
        yield from (note(subject, warning) for warning in inspection.warnings)


def _headlines(settings: Settings) -> Iterator[Finding]:
    """Look at what scores headlines, where there are some; without an ML library."""
    for folder in every_exports_dir(settings.exports_dir):
        name = DEFAULT if folder == settings.exports_dir else folder.parent.name
        subject, option = f"headlines of {name}", "" if name == DEFAULT else f" --dataset {name}"
        try:
            chosen = read_description(folder).headlines
        except CbiError:
            chosen = None  # the check of the exports says so
        if chosen is None:
            continue
        if chosen.model is None:
            yield note(subject, "no model is chosen", f"`cbi-queue text use FOLDER{option}` checks and chooses one")
        else:
            seen = f"scored by {chosen.model}, {str(chosen.model_sha256)[:8]}"
            yield bad(subject, fault, ELSEWHERE) if (fault := fault_in(chosen.model)) else ok(subject, seen)


def _runs(settings: Settings) -> Iterator[Finding]:
    """Check a few finished runs, marking none; the other checks say what is wrong with the ledger or the volume."""
    try:
        settings.require_volume()
        if schema_version(settings.ledger_path) != SCHEMA_VERSION or not settings.models.is_dir():
            return
        with Ledger.open_readonly(settings.ledger_path) as ledger:
            sample = sample_runs(ledger, settings.models, MOST_SAMPLED_BYTES)
    except (CbiError, sqlite3.Error):
        return
    if not sample.finished:
        return
    damaged = [check for check in sample.checks if check.damage is not None]
    seen = f"{len(sample.checks)} of {counted(sample.finished, 'finished run')} checked"
    advice = "`cbi-queue verify` checks every run and marks the damaged ones"
    for check in damaged:
        yield bad("results", f"the run of job {check.job_id} {check.name} is damaged: {check.damage}", advice)
    if sample.marked:
        known = f"{counted(sample.marked, 'run is', 'runs are')} marked as damaged"
        yield bad("results", known, "`cbi-queue leaderboard` names them; `cbi-queue retry NAME` trains one again")
    if not sample.checks:
        yield note("results", seen, advice)
    elif not damaged:
        yield ok("results", f"{seen}, all intact; `cbi-queue verify` checks every one")


def _tracking(settings: Settings) -> Iterator[Finding]:
    is_well, seen, advice = tracking_words(settings)
    yield ok("tracking", seen) if is_well else note("tracking", seen, advice)
    for words in failures(settings):
        yield note("notifications", words, "`cbi-queue notify test` tries it again and says what came back")


def _forecasts(settings: Settings) -> Iterator[Finding]:
    """Tell which models should be trained again, by the errors of their forecasts or the drift of their features."""
    for flag in all_flags(settings.logs):
        yield note("forecasts", flag.words, "`cbi-queue forecast --retrain` queues them again on the present data")


def _daemon(settings: Settings) -> Iterator[Finding]:
    status = daemon_status(settings)
    advice = "run `cbi-queue service install`, or `cbi-queue worker` in a terminal"
    if status.is_stopped:
        yield bad("daemon", status.words, "until then it starts nothing, and heeds no command")
    else:
        yield ok("daemon", status.words) if status.is_running else note("daemon", status.words, advice)
    if (held := _volume_hold(settings)) is not None:
        seen, remedy = _in_two(held)
        yield bad("data, as the daemon last found them", seen, remedy or "`cbi-queue status` tells when they are back")


def _volume_hold(settings: Settings) -> str | None:
    """Return what keeps the daemon from the data: it may be refused what this terminal may open."""
    if not settings.ledger_path.exists():
        return None
    try:
        with open_snapshot(settings) as (ledger, _):
            holds = holds_in_force(ledger)
    except (CbiError, sqlite3.Error):  # the check of the ledger reports it
        return None
    return next((hold.words for hold in holds if hold.reason is HoldReason.VOLUME), None)


def _sensors(_settings: Settings) -> Iterator[Finding]:
    try:
        rows = read_sensors()
    except CbiError as exc:
        yield note("sensors", exc.message, exc.hint)
        return
    for row in rows:
        subject = f"sensor {row.kind}, {row.sensor}"
        if row.is_known and NEVER_SEEN in row.source:
            seen = f"{row.words}; {row.source}: it cannot be told from a level that is never set"
            yield note(subject, seen, PROVE_LEVEL)
        elif row.is_known:
            yield ok(subject, f"{row.words}; {span(row.age_s)} old, from {row.source}, {row.trust}")
        else:
            yield note(subject, row.words)


def _background(settings: Settings, platform: str = sys.platform) -> Iterator[Finding]:
    """Tell what macOS does in the background with the training's files."""
    yield from background_work.look(settings) if platform == "darwin" else ()
