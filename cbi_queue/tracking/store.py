"""MLflow's store of runs, `Models/mlflow/mlflow.db`, with links to the files of the runs beside it.

`reading` reads it, from the file itself; writing goes through MLflow's client, whose import takes most of a second. A run is
written in steps that may be repeated: one that was cut off has no version yet and is completed by the next tracker. Files of a
run are linked, not copied: they take no space twice, and deleting a run in MLflow leaves the run folder as it was.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import gc
import logging
import os
import stat
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from cbi_queue.artifacts import write_json
from cbi_queue.lean_imports import without
from cbi_queue.regular_files import check_file, check_folder, open_stream, open_to_append, plain_words
from cbi_queue.tracking.reading import DATABASE, KEY, VERSION, TrackingFailed, failed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cbi_queue.tracking.reading import Known
    from cbi_queue.tracking.runs import EndedRun, RunRecord

STORY = "queue.json"
"""File beside a run's own: what the queue knows about it."""
BATCH = 250
"""Metrics in one transaction, of the 1,000 that MLflow takes: 20 ms of processor time, which at the lowest priority may become a
second. SQLite gives another writer, such as a script that logs its own runs, five before it fails."""
COPIED_BYTES = 1 << 20
"""Largest file that is copied where links are not possible; a larger one is only named."""
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_LOGGING_LEVEL": "ERROR"}
"""Variables that keep MLflow from reporting its use to its makers, and from writing to the terminal."""
_NO_LINKS = {errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS, errno.EACCES}
_UNUSED = ("pandas", "polars", "numpy", "pyarrow", "scipy", "sklearn")
"""Libraries that MLflow imports for models and data sets, which are not used here: mlflow-skinny does without them."""


class MlflowStore:
    """MLflow's client on the store, made when it is first needed."""

    def __init__(self, folder: Path) -> None:
        """Open the store in *folder*, and make it when it does not exist.

        Raises:
            TrackingFailed: when MLflow is missing, or the store cannot be used.
        """
        self._path = folder / DATABASE
        self._root = folder.resolve()
        self._experiments: dict[str, str] = {}
        try:
            check_folder(self._path.parent)
            self._path.parent.mkdir(parents=True, exist_ok=True)
            check_file(self._path)
            # MLflow makes `mlruns`, where the files go, in the working folder
            with quietly(), contextlib.chdir(self._path.parent):
                client = _imported().MlflowClient
                if not self._path.exists() or self._path.stat().st_size == 0:
                    self._make(client)
                self._client = client(tracking_uri=f"sqlite:///{self._path}")
                self._client.get_experiment_by_name("Default")
        except ImportError as exc:
            raise TrackingFailed(
                f"runs are not tracked: MLflow cannot be imported ({' '.join(str(exc).split())[:200]})",
                hint="install it with: pip install 'cbi-queue[tracking]'; or switch tracking off: CBI_TRACKING=off",
            ) from exc
        except Exception as exc:  # MLflow and SQLAlchemy have hundreds of their own
            raise failed(self._path, exc) from exc

    def _make(self, client: Any) -> None:
        """Make the store beside its place: MLflow makes its tables in many steps, and cannot go on with half of them."""
        made = self._path.with_name(f"{DATABASE}.part")
        with open_to_append(self._path.with_name(".making")) as lock:  # a script's runner may be at it, too
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self._path.exists() and self._path.stat().st_size:
                return
            for left in (made, made.with_name(f"{made.name}-journal")):  # of a tracker that was killed
                left.unlink(missing_ok=True)
            client(tracking_uri=f"sqlite:///{made}").get_experiment_by_name("Default")
            made.replace(self._path)

    def write(self, record: RunRecord, known: Known | None) -> None:
        """Write one run whole; one that is there is completed and brought up to date.

        Raises:
            TrackingFailed: when it could not be; what was written stays, and may be written again.
        """
        try:
            with quietly():
                self._write(record, known)
        except TrackingFailed:
            raise
        except Exception as exc:  # as above
            raise failed(self._path, exc) from exc

    def _write(self, record: RunRecord, known: Known | None) -> None:
        from mlflow.entities import Param, RunTag

        client = self._client
        if known is None:
            experiment = self._experiment(record.experiment)
            tags = {KEY: record.key, "mlflow.user": "cbi-queue"}
            run = client.create_run(experiment, record.started_ms, tags, run_name=record.name)
        else:
            run = client.get_run(known.run_id)
        run_id = run.info.run_id
        missing = {} if known else record.params
        if known and known.version is None:
            missing = {name: value for name, value in record.params.items() if name not in run.data.params}
        stale = [name for name in run.data.tags if _is_ours(name) and name not in record.tags] if known else []
        for name in stale:
            client.delete_tag(run_id, name)
        left_out = self._place_files(record, run.info.artifact_uri)
        tags = {**record.tags, **({"files not linked": left_out} if left_out else {})}
        client.log_batch(
            run_id,
            params=[Param(name, value) for name, value in missing.items()],
            tags=[RunTag(name, value) for name, value in tags.items()],
        )
        metrics = list(_metrics(record))
        for at in range(0, len(metrics), BATCH):
            client.log_batch(run_id, metrics=metrics[at : at + BATCH])
        client.set_terminated(run_id, record.status, record.ended_ms)
        client.set_tag(run_id, VERSION, record.version)

    def make_experiment(self, name: str) -> None:
        """Make the experiment *name*, whose files go beside the store, unless it is there.

        Raises:
            TrackingFailed: when it could not be.
        """
        try:
            with quietly():
                self._experiment(name)
        except Exception as exc:  # as above
            raise failed(self._path, exc) from exc

    def _experiment(self, name: str) -> str:
        if name not in self._experiments:
            found = self._client.get_experiment_by_name(name)
            if found is not None and found.lifecycle_stage == "deleted":
                self._client.restore_experiment(found.experiment_id)  # a new run of it has nowhere else to go
            with contextlib.chdir(self._root):
                self._experiments[name] = found.experiment_id if found else self._client.create_experiment(name)
        return self._experiments[name]

    def _place_files(self, record: RunRecord, artifact_uri: str) -> str:
        """Link the files of a run into its folder of the store; return in words what could not be, empty: nothing."""
        folder = Path(artifact_uri.removeprefix("file://"))
        if not folder.is_relative_to(self._root):
            return f"this store was moved: its runs belong into {folder}"
        if folder.resolve() != folder:
            return f"there is a link on the way to {folder}"
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / STORY, _jsonable(record.story))
        left_out = []
        for name, size in record.files.items():
            if record.folder is not None and (why := _place(record.folder, name, size, folder)):
                left_out.append(f"{name}: {why}")
        return "; ".join(left_out)[:4_000]


def is_installed() -> bool:
    """Return True if MLflow is there; imports nothing."""
    import importlib.util

    return importlib.util.find_spec("mlflow") is not None


def to_write(runs: list[EndedRun], known: dict[str, Known], *, everything: bool) -> list[EndedRun]:
    """Return which of *runs* are not in the store as they are now, or all; those that the user deleted there never are."""
    return [
        run
        for run in runs
        if (found := known.get(run.key)) is None
        or (not found.is_deleted and (everything or found.version != run.version))
    ]


def _is_ours(tag: str) -> bool:
    return not tag.startswith(("mlflow.", "cbi_queue."))


def _metrics(record: RunRecord) -> Iterator[Any]:
    from mlflow.entities import Metric

    for name, value in record.metrics.items():
        yield Metric(name, value, record.ended_ms, 0)
    for row in record.epochs:
        values = {
            "train_loss": row.train_loss, "validation_loss": row.validation_loss, "epoch_s": row.wall_s,
            "micro_batch": row.micro_batch,
        }  # fmt: skip
        for name, number in values.items():
            if number is not None and abs(number) != float("inf"):
                yield Metric(name, float(number), round(row.at * 1000), row.epoch)


def _place(run_dir: Path, name: str, size: int, folder: Path) -> str:
    """Link the file *name* of *run_dir* into *folder*, copy a small one where that is impossible; return why not."""
    source, target = run_dir / name, folder / name
    try:
        if refused := _why_refused(run_dir, name, size):
            return refused
        if any((folder / part).is_symlink() for part in PurePosixPath(name).parents):
            return f"there is a link on the way to {target}"
        target.parent.mkdir(parents=True, exist_ok=True)
        if not (target.exists() and os.path.samestat(source.lstat(), target.lstat())):
            target.unlink(missing_ok=True)
            return _link(source, target, size)
    except OSError as exc:
        if exc.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise
        return plain_words(exc, source)
    return ""


def _why_refused(run_dir: Path, name: str, size: int) -> str:
    source = run_dir / name
    if any(each.is_symlink() for each in (source, *(run_dir / part for part in PurePosixPath(name).parents))):
        return "is a link, and links are not followed"
    check_file(source)
    return "" if source.lstat().st_size == size else "differs from its manifest"


def _link(source: Path, target: Path, size: int) -> str:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as exc:
        if exc.errno not in _NO_LINKS:
            raise
        return _copy(source, target, size)
    if stat.S_ISREG(target.lstat().st_mode):
        return ""
    target.unlink()  # exchanged between the check and the link
    return "is no regular file"


def _copy(source: Path, target: Path, size: int) -> str:
    if size > COPIED_BYTES:
        return f"stays in the run folder: this disk has no hard links, and {size / 1e6:.0f} MB are not copied"
    with open_stream(source) as stream:
        target.write_bytes(stream.read(COPIED_BYTES))
    return ""


def _jsonable(story: dict[str, Any]) -> Any:
    import json

    return json.loads(json.dumps(story, default=str), parse_constant=lambda _not_finite: None)


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Keep MLflow, Alembic and their warnings quiet."""
    import warnings

    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _imported() -> Any:
    """Import mlflow as fast as it can be: without the libraries that only data sets need, and without the collector.

    Together 1.3 instead of 2.1 s of processor time until the first run is written.
    """
    was_collecting = gc.isenabled()
    gc.disable()
    try:
        with without(*_UNUSED):
            import mlflow
            import mlflow.store.tracking.sqlalchemy_store
    finally:
        if was_collecting:
            gc.enable()
    return mlflow
