"""Which model of a horizon is chosen, by the rule of the boards, and what may be believed of it. Pure.

Every place that needs one model of a horizon asks here, so that all of them mean the same one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cbi_queue.datasets.place import DEFAULT
from cbi_queue.errors import Refused
from cbi_queue.lifecycle import JobState
from cbi_queue.models.kinds import OF_ONE_REGIME, Family
from cbi_queue.views.board_words import independent_words
from cbi_queue.views.leaderboard import BETTER, NAIVE, NO, TOO_FEW, WORSE, LeaderboardRow, ScoredRow, rank
from cbi_queue.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cbi_queue.ledger import JobRow


@dataclass(frozen=True, slots=True)
class Chosen:
    """One run, with its place."""

    job: JobRow
    row: LeaderboardRow
    board: str
    """Title of its board."""
    words: tuple[str, ...]
    """What may be believed of it, a sentence each."""


def ranked_models(jobs: Iterable[JobRow], horizon: str, dataset: str = DEFAULT) -> list[Chosen]:
    """Return the ranked models of the newest data, walk-forward before holdout, the best first; no baselines.

    The first one is the chosen one. The others are for a purpose that it cannot serve.

    Args:
        jobs: scored jobs, as for `leaderboard.rank`.
        horizon: one of the catalogue's names.
        dataset: name of the data set.

    Raises:
        Refused: when none is ranked.
    """
    of_horizon = [job for job in jobs if job.horizon == horizon]
    known = {job.id: job for job in of_horizon if job.dataset == dataset}
    for board, rows in rank(known.values()).items():  # the newest data and walk-forward come first
        found = [
            Chosen(known[row.job_id], row, board, _words(row, rows))
            for row in rows
            if row.place is not None and not row.is_bar and row.job_id is not None
        ]
        if found:
            return found
    vetoed = [job.name for job in known.values() if job.state is JobState.VETOED]
    others = sorted({job.dataset for job in of_horizon} - {dataset})
    hint, others_than_price = "train one first", [job for job in known.values() if _no_price(job)]
    if others_than_price:
        named = others_than_price[-1]
        hint = f"{named.name} forecasts {_no_price(named)} and no price: {_instead(named)}"
    if vetoed:
        hint = f"a guardrail vetoed {', '.join(vetoed[:3])}; `cbi-queue show NAME` says why"
    elif others:
        hint = f"models of {horizon} were trained on {counted(len(others), 'data set')}: {', '.join(others)}; --dataset names one"
    raise Refused(f"no model of {horizon} of the data set {dataset} is ranked, so none can be chosen", hint=hint)


def chosen_by_name(job: JobRow, jobs: Iterable[JobRow]) -> Chosen:
    """Return *job* with its place among *jobs*.

    Raises:
        Refused: when it has no result that counts.
    """
    about = f"job {job.id} {job.name}"
    if job.state is JobState.VETOED:
        raise Refused(
            f"{about} was vetoed: {job.veto or 'a guardrail rejected the result'}",
            hint=f"`cbi-queue accept {job.name} --reason TEXT` accepts it all the same",
        )
    if job.damage is not None:
        raise Refused(
            f"the run of {about} is damaged: {job.damage}", hint=f"`cbi-queue retry {job.name}` trains it again"
        )
    if job.state is not JobState.SUCCEEDED:
        raise Refused(f"{about} is {job.state}; only a job that succeeded has a model")
    for board, rows in rank(jobs).items():
        for row in rows:
            if row.job_id == job.id:
                return Chosen(job, row, board, _words(row, rows))
    if other := _no_price(job):
        raise Refused(f"{about} ({job.model}) forecasts {other} and no price", hint=_instead(job))
    raise Refused(f"{about} is on no board of prices: it forecasts none, or a newer job of that name took its place")


def _instead(job: JobRow) -> str:
    """Say where the forecast is of a job that forecasts no price."""
    if job.model in OF_ONE_REGIME:
        return (
            f"`cbi-queue show {job.name}` names its run folder, whose predictions.parquet ends with the forecast of the day "
            "of its training; `cbi-queue refresh` trains it on newer rows"
        )
    return f"`cbi-queue forecast` tells what the best of its board says of the newest rows, {job.name} or another"


def _no_price(job: JobRow) -> str | None:
    """Return what a job forecasts that forecasts no price; None for others."""
    if job.model in OF_ONE_REGIME:
        return "for one regime only, which its mixture weighs,"
    what: dict[str, str] = {Family.VOLATILITY: "a variance", Family.REGIME_CLASSIFIER: "probabilities of regimes"}
    return what.get(job.family)


def _words(row: LeaderboardRow, rows: list[LeaderboardRow]) -> tuple[str, ...]:
    said = [] if row.is_bar else [told_apart_from(NAIVE, row)]
    if row.shrinkage == 0:
        said.append("It was shrunk to naive's forecast (no skill on validation): it forecasts that the price stays.")
    return (*said, *ranked_above(row, rows))


def ranked_above(row: ScoredRow, rows: Sequence[ScoredRow]) -> list[str]:
    """Say which baselines the validation block ranks above a model; nothing where it ranks none."""
    above = [bar.name for bar in rows if bar.is_bar and bar.place is not None and bar.place < (row.place or 0)]
    return [f"Ranked above it on the validation block: {', '.join(above)}."] if above and not row.is_bar else []


def told_apart_from(baseline: str, row: ScoredRow) -> str:
    """Say whether a model is told apart from the *baseline*, and by how much evidence."""
    evidence = independent_words(row)
    words = {
        BETTER: f"{row.name} beats {baseline} beyond luck ({evidence}).",
        WORSE: f"{row.name} is worse than {baseline}, beyond luck ({evidence}).",
        NO: f"{row.name} cannot be told apart from {baseline} ({evidence}): its lead, if any, may be luck.",
        TOO_FEW: f"Too little to tell {row.name} apart from {baseline}: {evidence}.",
    }
    return words.get(row.told_apart or "", f"Whether {row.name} is told apart from {baseline} is not known.")
