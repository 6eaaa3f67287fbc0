"""Stage files as an export on the trainers' Python, and move what was staged into a data set, whole or not at all."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cbi_queue.artifacts import atomic_file
from cbi_queue.datasets.description import DataSet, read_description, write_description
from cbi_queue.datasets.place import ONE_FOR_ALL, export_name, exports_in
from cbi_queue.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cbi_queue.settings import Settings

LONGEST_S = 3600.0


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
    """Yield what the trainers' Python found; the staged file is removed at the end.

    Raises:
        Refused: when the interpreter cannot do it.
    """
    wanted.exports_dir.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".import-", dir=wanted.exports_dir))
    try:
        yield _ask(settings, wanted, description, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _ask(settings: Settings, wanted: Wanted, description: DataSet, work: Path) -> dict[str, Any]:
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
        )  # fmt: skip
        answer: dict[str, Any] = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired) as exc:
        words = str(exc) if isinstance(exc, OSError) else "it gave no answer"
        raise Refused(
            f"cannot read the files on {python}: {words}",
            hint="`cbi-queue doctor` checks the trainers' Python and its libraries",
        ) from exc
    return answer


def commit(wanted: Wanted, answer: dict[str, Any], description: DataSet, shadows: Sequence[Path]) -> None:
    """Move the staged export into place, each file whole or not at all, then write the description."""
    targets = wanted.targets
    for number, target in enumerate(targets):
        with atomic_file(target) as part:
            if number + 1 < len(targets):
                shutil.copyfile(answer["staged"], part)
            else:
                Path(answer["staged"]).replace(part)
    for shadow in shadows:
        shadow.unlink(missing_ok=True)
    keys = ("files", "date", "date_format", "price", "decimal")
    source = {key: answer[key] for key in keys if answer.get(key) is not None} | {
        "names": {safe: name for safe, name in answer["columns"].items() if safe != name}
    }
    write_description(wanted.exports_dir, description.model_copy(update={"source": source}))
