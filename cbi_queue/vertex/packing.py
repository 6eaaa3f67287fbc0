"""Make a package: a process of its own fills a hidden folder, which becomes the next version when every check has passed.

The process (`python -m jobs.exporting`) loads the libraries, which cbi-queue itself never does. Whatever goes wrong, the
hidden folder is removed and no version is there. Two exports at once get two versions: the folder is renamed to a name
that does not exist, and named anew when somebody was faster.
"""

from __future__ import annotations

import contextlib
import errno
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cbi_queue.artifacts import flush_folder, sha256_of, write_atomic, write_json
from cbi_queue.child_answers import answer_of
from cbi_queue.errors import CbiError, Refused
from cbi_queue.regular_files import check_folder
from cbi_queue.vertex.commands import readme
from cbi_queue.vertex.names import Names, names_of, versions_in

if TYPE_CHECKING:
    from cbi_queue.ledger import JobRow

LIMIT_S = 900.0
"""Seconds that an export may take; the slowest takes about 15 on an idle machine."""
CHECKSUMS = "SHA256SUMS"
_PREFIX, _SUFFIX = ".export-", ".part"


class NoExporter(Refused):
    """Nothing writes such a model; another one of the board may be exported."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A package that is there."""

    folder: Path
    names: Names
    facts: dict[str, Any]
    """What the exporter measured: "parity", "latency", "forecast", "onnx"."""


def pack(
    job: JobRow,
    run_dir: Path,
    processed_dir: Path,
    shelf: Path,
    *,
    words: tuple[str, ...],
    interpreter: str,
    backends_python: str | None = None,
    limit_s: float = LIMIT_S,
) -> Packed:
    """Export the run of *job* into the next version in *shelf*.

    Args:
        job: that succeeded.
        run_dir: its run folder, whose files were compared with their checksums.
        processed_dir: the feature cache of its data set.
        shelf: folder of the versions; made when only it is missing.
        words: what may be believed of the model, for the package's README.
        interpreter: Python that has the trainers' libraries.
        backends_python: Python of the backend that trained the model; None: the same.
        limit_s: seconds that it may take.

    Raises:
        Refused: when a check of what was written failed, or (`NoExporter`) nothing exports the model; nothing is left.
        CbiError: when the process failed or took too long; nothing is left.
    """
    was_there = shelf.is_dir()
    staging = _staged(shelf)
    try:
        asked = {
            "run_dir": str(run_dir), "processed_dir": str(processed_dir), "backend": job.backend, "to": str(staging),
            "interpreter": backends_python or interpreter,
        }  # fmt: skip
        facts = {"job": job.name, "model": job.model, **_export(asked, job.name, interpreter, limit_s)}
        folder, names = _named(staging, shelf, job, facts, words)
    except OSError as exc:
        raise CbiError(f"cannot export {job.name} into {shelf}: {exc.strerror}; nothing was left there") from exc
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        if not was_there:
            with contextlib.suppress(OSError):  # there is a package in it
                shelf.rmdir()
    return Packed(folder, names, facts)


def _staged(shelf: Path) -> Path:
    """Make the hidden folder, and remove those of exports that were killed."""
    try:
        check_folder(shelf)
        shelf.mkdir(exist_ok=True)
        for left in shelf.glob(f"{_PREFIX}*{_SUFFIX}"):
            if time.time() - left.stat().st_mtime > 2 * LIMIT_S:
                shutil.rmtree(left, ignore_errors=True)
        return Path(tempfile.mkdtemp(_SUFFIX, _PREFIX, shelf))
    except OSError as exc:
        why = exc.strerror if exc.errno != errno.ENOENT else f"the folder {shelf.parent} does not exist"
        raise Refused(f"cannot export into {shelf}: {why}", hint="choose another folder with --to") from exc


def _export(asked: dict[str, str], name: str, interpreter: str, limit_s: float) -> dict[str, Any]:
    said = answer_of(
        "jobs.exporting", asked, interpreter,
        within_s=limit_s, to=f"export {name}", work=f"the export of {name}", left="; nothing was left",
        hint="try again when the machine has less to do",
    )  # fmt: skip
    if "refused" in said:
        refusal = NoExporter if said.get("no_exporter") else Refused
        raise refusal(f"cannot export {name}: {said['refused']}")
    return said


def _named(
    staging: Path, shelf: Path, job: JobRow, facts: dict[str, Any], words: tuple[str, ...]
) -> tuple[Path, Names]:
    """Write what depends on the version, and rename the folder to the first version that nobody has."""
    number = max(versions_in(shelf), default=0)
    while True:
        number += 1
        names = names_of(job.family, job.horizon, job.dataset, number)
        identity = {"model_id": names.model_id, "display_name": names.display_name, "version": names.version}
        write_json(staging / "package.json", {**identity, "job": job.name})
        write_atomic(staging / "README.md", readme(names, facts, words).encode())
        write_atomic(staging / CHECKSUMS, _checksums(staging).encode())
        for folder in (staging / "model", staging):
            flush_folder(folder)
        try:
            staging.rename(shelf / names.version)
        except OSError as exc:
            if exc.errno not in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}:
                raise
        else:
            flush_folder(shelf)
            return shelf / names.version, names


def _checksums(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != CHECKSUMS)
    return "".join(f"{sha256_of(path)}  {path.relative_to(folder).as_posix()}\n" for path in files)
