"""Stage files as an export on the trainers' Python, and move what was staged into a data set, whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cbi_queue.artifacts import atomic_file, flush_file, flush_folder
from cbi_queue.datasets.description import DataSet, read_description, write_description
from cbi_queue.datasets.place import DEFAULT, DESCRIPTION_NAME, ONE_FOR_ALL, export_name, exports_in, of_dataset
from cbi_queue.errors import Refused
from cbi_queue.orderly_end import ended_in_order
from cbi_queue.regular_files import plain_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cbi_queue.settings import Settings

LONGEST_S = 3600.0
STAGING = ".import-"
"""Begins the name of a staging folder, in the folder of the training data: no data set, whatever is left in it."""
READY = "ready-"
"""Begins the name of the folder in it that holds a whole new data set; the rest is the name of that."""
ALONE = "alone"
"""File beside the new export that serves every horizon, when exports of one horizon go."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an import was asked for."""

    files: tuple[Path, ...]
    exports_dir: Path
    horizons: tuple[str, ...] = ()
    """Empty: one export for every horizon."""
    date: str | None = None
    price: str | None = None
    date_format: str | None = None
    decimal: str | None = None

    @property
    def targets(self) -> list[Path]:
        """The exports that would be written."""
        names = [export_name(horizon) for horizon in self.horizons] or [ONE_FOR_ALL]
        return [self.exports_dir / name for name in names]


def refuse_foreign(wanted: Wanted, *, replace: bool) -> list[Path]:
    """Return the exports that would be in the way: of one horizon, and so read before the one for all.

    Raises:
        Refused: when an export that no import wrote would be replaced, or read instead, and *replace* is off.
    """
    shadows = [] if wanted.horizons else [path for path in exports_in(wanted.exports_dir) if path.name != ONE_FOR_ALL]
    own = [path for path in wanted.targets if path.exists()]
    is_imported = bool(read_description(wanted.exports_dir).source.get("files"))
    if replace or (is_imported and not shadows) or not (own or shadows):
        return shadows
    names = ", ".join(path.name for path in [*own, *shadows])
    what = "would be replaced" if not shadows else "would be read instead of, or beside, what is imported"
    raise Refused(
        f"{wanted.exports_dir} already holds {names}, which {what}",
        hint="name another data set with --dataset NAME, or remove them with --replace",
    )


@contextmanager
def staged(settings: Settings, wanted: Wanted, description: DataSet) -> Iterator[dict[str, Any]]:
    """Yield what the trainers' Python found; what was staged is removed at the end, also when a signal ends it.

    Raises:
        Refused: when the interpreter cannot do it.
    """
    with ended_in_order():
        work = Path(tempfile.mkdtemp(prefix=STAGING, dir=settings.training_data))
        with _locked(work) as lock:
            try:
                yield _ask(settings, wanted, description, work, lock)
            finally:
                _move_into_place(settings, work)  # a signal may have come between two steps of `commit`
                shutil.rmtree(work, ignore_errors=True)


@contextmanager
def _locked(work: Path) -> Iterator[int | None]:
    """Hold the lock of a staging folder, which its reader inherits: without an owner it is a leftover.

    Yields None when another process holds it, or the file system has no locks.
    """
    descriptor = os.open(work, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield None
        else:
            yield descriptor
    finally:
        os.close(descriptor)


def _ask(settings: Settings, wanted: Wanted, description: DataSet, work: Path, lock: int | None) -> dict[str, Any]:
    python = settings.interpreter_for("native")
    request = {
        "files": [str(file.absolute()) for file in wanted.files],
        "work": str(work),
        "threads": settings.threads,
        "date": wanted.date,
        "price": wanted.price,
        "date_format": wanted.date_format,
        "decimal": wanted.decimal,
        "description": description.model_dump(mode="json", exclude_defaults=True, exclude={"source"}),
    }
    try:
        done = subprocess.run(
            [python, "-P", "-m", "jobs.importing.stage"],
            input=json.dumps(request), capture_output=True, text=True, timeout=LONGEST_S, check=False,
            pass_fds=() if lock is None else (lock,),
        )  # fmt: skip
        answer: dict[str, Any] = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired) as exc:
        words = plain_words(exc) if isinstance(exc, OSError) else "it gave no answer"
        raise Refused(
            f"cannot read the files on {python}: {words}",
            hint="`cbi-queue doctor` checks the trainers' Python and its libraries",
        ) from exc
    return answer


def commit(
    settings: Settings, wanted: Wanted, answer: dict[str, Any], description: DataSet, shadows: Sequence[Path]
) -> None:
    """Make the new exports and the description ready in the staging folder, then move them all into place.

    What is ready is moved by the next command about data when this one is killed on the way; what is not ready is dropped.
    """
    work = Path(answer["staged"]).parent
    _refuse_unwritable(wanted.exports_dir)
    ready = work / "making"
    ready.mkdir()
    first, *others = wanted.targets
    for other in others:
        shutil.copyfile(answer["staged"], ready / other.name)
    Path(answer["staged"]).rename(ready / first.name)
    if shadows:
        (ready / ALONE).touch()
    keys = ("files", "date", "date_format", "price", "decimal")
    source = {key: answer[key] for key in keys if answer.get(key) is not None} | {
        "names": {safe: name for safe, name in answer["columns"].items() if safe != name}
    }
    write_description(ready, description.model_copy(update={"source": source}))
    for path in ready.iterdir():
        flush_file(path)
    flush_folder(ready)
    ready.rename(work / f"{READY}{_name_of(settings, wanted.exports_dir)}")
    flush_folder(work)
    _move_into_place(settings, work)


def finish_interrupted(settings: Settings) -> None:
    """Finish imports that were killed when all was ready, and remove what others left; one that still runs is left alone."""
    for work in settings.training_data.glob(f"{STAGING}*"):
        if not work.is_dir() or work.is_symlink() or work.stat().st_uid != os.getuid():
            continue
        with _locked(work) as lock:
            if lock is None:
                continue
            try:
                _move_into_place(settings, work)
            except OSError as exc:
                raise Refused(
                    f"an import that was interrupted cannot be finished: {exc.filename}: {exc.strerror}",
                    hint=f"make that folder writable; or delete {work}, and the import is undone",
                ) from exc
            shutil.rmtree(work, ignore_errors=True)


def _refuse_unwritable(exports_dir: Path) -> None:
    there = next(folder for folder in (exports_dir, *exports_dir.parents) if folder.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        raise Refused(f"cannot import: {there} is not writable", hint="make it writable for this user")


def _move_into_place(settings: Settings, work: Path) -> None:
    """Move what is ready in *work*; may be repeated after any of its steps. The description comes last."""
    for ready in work.glob(f"{READY}*"):
        exports_dir = of_dataset(settings.exports_dir, ready.name.removeprefix(READY))
        exports_dir.mkdir(parents=True, exist_ok=True)
        found = sorted(path for path in exports_in(ready) if path.is_file())
        for path in found:
            _move(path, exports_dir / path.name)
        if (ready / ALONE).exists():
            for shadow in exports_in(exports_dir):
                if shadow.name != ONE_FOR_ALL:
                    shadow.unlink(missing_ok=True)
        if (ready / DESCRIPTION_NAME).is_file():
            _move(ready / DESCRIPTION_NAME, exports_dir / DESCRIPTION_NAME)
        flush_folder(exports_dir)


def _move(path: Path, target: Path) -> None:
    try:
        path.replace(target)
    except OSError as exc:
        if exc.errno != errno.EXDEV:  # the exports may be a link to a folder on another disk
            raise
        with atomic_file(target) as part:
            shutil.copyfile(path, part)


def _name_of(settings: Settings, exports_dir: Path) -> str:
    return DEFAULT if exports_dir == settings.exports_dir else exports_dir.parent.name
