"""The sentiment of a data set's headlines: every text that has no score yet goes through FinBERT, once.

The file of the scores is the checkpoint too: what is in it is never scored again, in this attempt, the next one, or
tomorrow's run over a few new headlines. Texts go through the net sorted by length, the longest first: a batch is
filled up to its own longest text, and the most memory is taken at the beginning. A smaller micro-batch divides a
batch, whose texts do not see each other: float32 then rounds other sums, and a score moves by less than 1e-5.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cbi_queue.artifacts import write_json
from cbi_queue.datasets.headlines import SCORED, SCORES, scored_of
from cbi_queue.errors import Refused
from cbi_queue.models.parameters.text import FinbertParams
from cbi_queue.protocol import (
    CheckpointFailed,
    CheckpointSaved,
    EpochReport,
    Finished,
    MicroBatchChanged,
    Note,
    Restored,
    Started,
)
from cbi_queue.regular_files import plain_words
from cbi_queue.text_model import check_model
from jobs.data.feature_build import description_of
from jobs.data.headlines import key_of, read_headlines, read_scores, write_scores
from jobs.process.channel import StopRequested
from jobs.trainer import BrokenSpec
from jobs.training.checkpoint_pace import CheckpointPace
from jobs.training.work_clock import WorkClock
from jobs.training.work_reports import BlockReports

if TYPE_CHECKING:
    from cbi_queue.datasets.headlines import Headlines
    from cbi_queue.text_model import TextModel
    from jobs.data.headlines import Owner, Score
    from jobs.trainer import Task

REPORT_EVERY_S = 1.0
"""Fewest working seconds between two reports."""


class Finbert:
    """Trains nothing: scores texts, batch by batch."""

    def prepare(self, task: Task) -> Started:
        """Check headlines and weights, find what has no score yet, and load the net if there is something."""
        self._params = FinbertParams.model_validate(task.spec.params)
        self._chosen, model = chosen_model(task.exports_dir)
        headlines = read_headlines(task.exports_dir, self._chosen)
        if not headlines.texts:
            raise BrokenSpec(
                f"the data set in {task.exports_dir} has no headline; `cbi-queue text import FILE` brings some in"
            )
        self._headlines, self._texts = len(headlines.texts), {key_of(text): text for text in headlines.texts}
        self._path = task.processed_dir / SCORES
        task.processed_dir.mkdir(exist_ok=True)  # never its parents: the volume may be gone
        self._scores = _known(task, self._path)
        self._own = self._scores.setdefault(_owner(self._chosen), {})
        todo = [key for key in self._texts if key not in self._own]
        self._todo, self._already = len(todo), len(self._texts) - len(todo)
        self._done = self._already // self._params.batch_size
        self._device: str | None = None
        self._micro_batch: int | None = None
        self._clock = WorkClock(task.channel)
        self._clock.start(0.0)
        self._note_known(task)
        if not todo:
            return Started(total_epochs=1, unit="batch")
        return self._prepare_net(task, model, todo)

    def train(self, task: Task) -> Finished:
        """Score what has no score, keep the scores, write the metrics."""
        if not self._todo:
            task.channel.safe_point(0)
            task.channel.report(EpochReport(epoch=1, total_epochs=1, wall_s=0.0, resumed=True))
        else:
            self._score(task)
        write_json(task.processed_dir / SCORED, {"of": scored_of(self._chosen), "texts": len(self._texts)})
        metrics = self._metrics()
        write_json(task.run_dir / "metrics.json", metrics)
        return Finished(metrics)

    def _note_known(self, task: Task) -> None:
        if self._already and task.assignment.attempt > 1:
            task.channel.report(Restored(self._done, str(self._path)))
        words = f"{len(self._texts):,} texts in {self._headlines:,} headlines, {self._already:,} scored before"
        task.channel.report(Note(words))

    def _prepare_net(self, task: Task, model: TextModel, todo: list[bytes]) -> Started:
        from jobs.torch_backend.sentiment import Sentiment, libraries, probe_on, release

        size, assignment = self._params.batch_size, task.assignment
        self._net = net = Sentiment(model, self._chosen.max_length, assignment.threads)
        tokens = net.tokens([self._texts[key] for key in todo])
        order = sorted(range(len(todo)), key=lambda at: (-len(tokens[at]), todo[at]))
        batches = [order[start : start + size] for start in range(0, len(order), size)]
        self._batches = [[(todo[at], tokens[at]) for at in batch] for batch in batches]
        self._micro_batch = min(assignment.micro_batch or size, size)
        first = [ids for _, ids in self._batches[0][: self._micro_batch]]
        for refusal in net.place(assignment.devices, assignment.precision, first):
            task.channel.report(Note(f"scores on {net.device.type} instead: {refusal}"))
        self._device = net.device.type
        task.channel.probe = probe_on(net.device)
        task.channel.on_pause = release(net.device)
        return Started(
            total_epochs=self._done + len(self._batches),
            unit="batch",
            samples=size * self._chosen.max_length,
            fingerprint=f"{task.spec.model} {task.spec.horizon} tokens {net.shape} batch{size} {net.precision.name} "
            f"{self._device} threads{assignment.threads} {libraries()}",
            device=self._device,
            micro_batch=self._micro_batch,
            can=("pace", "micro_batch", "probe", "checkpoint"),
        )

    def _score(self, task: Task) -> None:
        channel, clock, pace = task.channel, self._clock, CheckpointPace()
        clock.start(0.0)
        reports = BlockReports(channel, clock, self._done + len(self._batches), self._done)
        tokens = 0  # what a sample is here: texts differ in length, and their cost with it
        try:
            for batch in self._batches:
                self._score_batch(task, batch)
                self._done += 1
                tokens += len(batch) * len(batch[0][1])
                is_last = batch is self._batches[-1]
                channel.safe_point(self._done)
                if is_last or reports.wall_s >= REPORT_EVERY_S:
                    reports.send(self._done, tokens)
                    tokens = 0
                    channel.safe_point(self._done)  # obeys what the report causes
                if not is_last and pace.is_due(clock.worked_s, mid_epoch=False):
                    with clock.set_aside():
                        pace.paid(clock.worked_s, self._save(task))
        except StopRequested:
            self._save(task)
            raise
        clock.stop()
        write_scores(self._path, self._scores)

    def _score_batch(self, task: Task, batch: list[tuple[bytes, list[int]]]) -> None:
        """Score *batch* piece by piece; a stop in the middle leaves the whole batch unscored."""
        found: list[np.ndarray] = []
        start = 0
        while start < len(batch):
            task.channel.safe_point(self._done)
            self._apply_micro_batch(task)
            piece = batch[start : start + (self._micro_batch or len(batch))]
            found.append(self._net.scores([tokens for _, tokens in piece]))
            start += len(piece)
        scores = np.concatenate(found)  # (batch, 2)
        if not np.isfinite(scores).all():
            raise BrokenSpec(
                f"the model in {self._chosen.model} gives scores that are no numbers: its weights are damaged"
            )
        for (key, _), (positive, negative) in zip(batch, scores.tolist(), strict=True):
            self._own[key] = (positive, negative)

    def _apply_micro_batch(self, task: Task) -> None:
        wanted = task.channel.wanted_micro_batch
        micro_batch = self._micro_batch if wanted is None else min(max(wanted, 1), self._params.batch_size)
        if micro_batch is not None and micro_batch != self._micro_batch:
            self._micro_batch = micro_batch
            task.channel.report(MicroBatchChanged(self._done, micro_batch))

    def _save(self, task: Task) -> float:
        """Keep the scores so far; a full disk costs this checkpoint, not the run. Return the seconds that it took."""
        started_s = time.monotonic()
        try:
            size = write_scores(self._path, self._scores)
        except OSError as exc:
            task.channel.report(CheckpointFailed(self._done, plain_words(exc, self._path)))
            return time.monotonic() - started_s
        took_s = time.monotonic() - started_s
        task.channel.report(CheckpointSaved(self._done, size, took_s))
        return took_s

    def _metrics(self) -> dict[str, Any]:
        scores = np.array([self._own[key] for key in self._texts], dtype=np.float64)  # (texts, 2)
        sentiment = scores[:, 0] - scores[:, 1]
        return {
            "headlines": self._headlines,
            "texts": len(self._texts),
            "scored_now": self._todo,
            "scored_before": self._already,
            "mean_sentiment": round(float(sentiment.mean()), 6),
            "positive": int((scores.argmax(axis=1) == 0)[scores.max(axis=1) > 0.5].sum()),
            "negative": int((scores.argmax(axis=1) == 1)[scores.max(axis=1) > 0.5].sum()),
            "device": self._device,
            "micro_batch": self._micro_batch,
            "model_sha256": self._chosen.model_sha256,
            "headlines_sha256": self._chosen.sha256,
            "seconds": round(self._clock.worked_s, 3),
            "path": str(self._path),
        }


def chosen_model(exports_dir: Path) -> tuple[Headlines, TextModel]:
    """Return the choices about the headlines in *exports_dir* and the checked weights that they name.

    Raises:
        BrokenSpec: when there are none, or the weights are not those that were chosen.
    """
    chosen = description_of(exports_dir).headlines
    if chosen is None:
        raise BrokenSpec(f"the data set in {exports_dir} has no headlines; `cbi-queue text import FILE` brings them in")
    if chosen.model is None or chosen.model_sha256 is None:
        raise BrokenSpec(
            f"no model is chosen for the headlines in {exports_dir}; `cbi-queue text use FOLDER` checks and chooses one"
        )
    try:
        model = check_model(Path(chosen.model))
    except Refused as exc:
        raise BrokenSpec(f"{exc.message}; {exc.hint}") from exc
    if model.sha256() != chosen.model_sha256:
        raise BrokenSpec(
            f"the model in {chosen.model} is not the one that was chosen: its files changed; `cbi-queue text use "
            f"{chosen.model}` looks at it again"
        )
    return chosen, model


def _owner(chosen: Headlines) -> Owner:
    return str(chosen.model_sha256), chosen.max_length


def _known(task: Task, path: Path) -> dict[Owner, dict[bytes, Score]]:
    try:
        return read_scores(path)
    except ValueError as exc:
        task.channel.report(Note(f"every headline is scored again: {exc}"))
        if path.is_symlink():
            path.unlink()
        return {}
