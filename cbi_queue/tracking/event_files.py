"""TensorBoard's event files: one for each run, written once, whole or not at all. TensorFlow is not needed."""

from __future__ import annotations

import os
import re
from contextlib import closing
from typing import TYPE_CHECKING

from cbi_queue.artifacts import atomic_file
from cbi_queue.errors import CbiError
from cbi_queue.regular_files import check_file, check_folder, plain_words

if TYPE_CHECKING:
    from pathlib import Path

    from cbi_queue.tracking.runs import RunRecord

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.-]")


def write_event_file(folder: Path, record: RunRecord) -> bool:
    """Write the run's epochs and scores to `folder/<data set>-<horizon>/<name>-<job>.<attempt>/`, unless they are there.

    Args:
        folder: exists.
        record: the run.

    Returns:
        True if a file was written.

    Raises:
        CbiError: when the folder cannot be written, or TensorBoard is missing.
    """
    _ledger_id, job, attempt = record.key.split("/")
    shelf = folder / _NOT_IN_NAMES.sub("-", record.experiment)
    run = shelf / f"{_NOT_IN_NAMES.sub('-', record.name)}-{job}.{attempt}"
    path = run / f"events.out.tfevents.{record.ended_ms // 1000}.cbi-queue"
    try:
        for each in (shelf, run):
            check_folder(each)
            each.mkdir(exist_ok=True)
        check_file(path)
        if path.exists():
            return False
        with atomic_file(path) as part:
            _write(part, record)
    except OSError as exc:
        raise CbiError(f"cannot write TensorBoard's files: {plain_words(exc, path)}") from exc
    except ImportError as exc:
        raise CbiError(
            f"cannot write TensorBoard's files: TensorBoard cannot be imported ({' '.join(str(exc).split())[:200]})",
            hint="install it with: pip install 'cbi-queue[tracking]'",
        ) from exc
    return True


def _write(path: Path, record: RunRecord) -> None:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    def event(at_s: float, step: int, values: dict[str, float | int | None]) -> bytes:
        known = ((name, value) for name, value in values.items() if value is not None)
        scalars = [Summary.Value(tag=name, simple_value=value) for name, value in known]
        return bytes(Event(wall_time=at_s, step=step, summary=Summary(value=scalars)).SerializeToString())

    with open(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as stream:
        writer = RecordWriter(stream)
        with closing(writer):
            writer.write(
                bytes(Event(wall_time=record.started_ms / 1000, file_version="brain.Event:2").SerializeToString())
            )
            for row in record.epochs:
                losses = {"train_loss": row.train_loss, "validation_loss": row.validation_loss}
                writer.write(
                    event(row.at, row.epoch, {**losses, "epoch_s": row.wall_s, "micro_batch": row.micro_batch})
                )
            writer.write(event(record.ended_ms / 1000, 0, dict(record.metrics)))
