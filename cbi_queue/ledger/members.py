"""Which runs an ensemble combines: decided when it starts, from what has ended by then.

They are of the ensemble's horizon, data set, snapshot and scheme, and forecast a price. Of several runs of one name the
newest counts, as on the leaderboard. A job that names others in `after` combines those; one that names none combines every
model of its board but the baselines. What was vetoed, is damaged or did not succeed is left out, and the result says so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cbi_queue.datasets.place import DEFAULT
from cbi_queue.identity import combining, identity_of
from cbi_queue.ledger.rows import JobRow
from cbi_queue.lifecycle import JobState
from cbi_queue.models.kinds import BARS, Family, forecasts_price

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cbi_queue.ledger.ledger import Ledger

EVENT = "members"
HOLDOUT = "holdout"
_ENDED_WORDS = {JobState.FAILED: "it failed", JobState.CANCELLED: "it was cancelled"}


@dataclass(frozen=True, slots=True)
class Members:
    """The runs that an ensemble combines, and those that it would have but for a reason."""

    taken: tuple[JobRow, ...] = ()
    left_out: tuple[str, ...] = ()
    """`NAME: why`, of each run that is left out."""

    @property
    def runs(self) -> tuple[str, ...]:
        """Each run as `JOB.ATTEMPT`: a job that is trained again makes another run."""
        return tuple(run_of(job) for job in self.taken)


def run_of(job: JobRow) -> str:
    """Return the newest run of *job* as `JOB.ATTEMPT`."""
    return f"{job.id}.{job.attempts}"


def members_of(ledger: Ledger, spec: Mapping[str, Any]) -> Members:
    """Return what an ensemble with the stored *spec* would combine now, by name."""
    named = list(spec.get("after", ()))
    newest = _newest_by_name(ledger, spec, named)
    taken, left_out = [], []
    for name in named or sorted(newest):
        job = newest.get(name)
        why = "it has not ended" if job is None else _why_left_out(job, spec)
        if why is None and job is not None:
            taken.append(job)
        elif named or (job is not None and _is_of_the_board(job, spec)):
            left_out.append(f"{name}: {why}")
    return Members(tuple(sorted(taken, key=lambda job: job.name)), tuple(left_out))


def take_members(ledger: Ledger, job: JobRow) -> tuple[JobRow, Members]:
    """Decide what the ensemble *job*, which starts now, combines, and make it part of its identity.

    Returns:
        The job as it is now, and its members. A job that continues finds the same ones, unless one was trained again
        meanwhile: then it is another job, and its checkpoints no longer fit.
    """
    with ledger.write() as conn:
        members = members_of(ledger, job.spec)
        if list(members.runs) == job.spec.get("combines"):
            return job, members
        text = combining(job.spec, members.runs)
        conn.execute("UPDATE jobs SET spec = ?, identity = ? WHERE id = ?", (text, identity_of(text), job.id))
        names = ", ".join(f"{member.name} (job {member.id})" for member in members.taken) or "nothing"
        left_out = f"; left out: {'; '.join(members.left_out)}" if members.left_out else ""
        ledger.add_event(EVENT, "started", job_id=job.id, words=f"combines {names}{left_out}")
    spec = {**job.spec, "combines": list(members.runs)}
    return replace(job, spec=spec, identity=identity_of(text)), members


def _newest_by_name(ledger: Ledger, spec: Mapping[str, Any], named: list[str]) -> dict[str, JobRow]:
    """Return the newest ended job of each name: one with scores on the ensemble's data before any other."""
    among = f"AND name IN ({', '.join('?' * len(named))})" if named else ""
    sql = f"SELECT * FROM jobs WHERE ended_at IS NOT NULL AND horizon = ? {among} ORDER BY id"  # noqa: S608
    newest: dict[str, JobRow] = {}
    for job in map(JobRow.of, ledger.conn.execute(sql, (spec["horizon"], *named))):
        before = newest.get(job.name)
        if before is None or _suits(job, spec) >= _suits(before, spec):
            newest[job.name] = job
    return newest


def _suits(job: JobRow, spec: Mapping[str, Any]) -> tuple[bool, bool]:
    return _is_of_the_data(job, spec), _backtest(job) is not None


def _is_of_the_data(job: JobRow, spec: Mapping[str, Any]) -> bool:
    snapshot = spec.get("snapshot")
    return job.dataset == spec.get("dataset", DEFAULT) and job.snapshot == snapshot


def _is_of_the_board(job: JobRow, spec: Mapping[str, Any]) -> bool:
    """Return True if an ensemble that names nobody would combine *job*, were its result good."""
    is_single = forecasts_price(job.family, job.model) and job.family != Family.META and job.model not in BARS
    is_known_failure = job.metrics is None and job.state is JobState.FAILED
    scores = _backtest(job) is not None and _scheme(job.metrics or {}) == _scheme(spec.get("params", {}))
    return is_single and _is_of_the_data(job, spec) and (is_known_failure or scores)


def _why_left_out(job: JobRow, spec: Mapping[str, Any]) -> str | None:
    """Return why *job* is no member, in words; None when it is one."""
    own_snapshot, snapshot = (str(found or "unknown")[:8] for found in (spec.get("snapshot"), job.snapshot))
    own_scheme, scheme = _scheme(spec.get("params", {})), _scheme(job.metrics or {})
    reasons = (
        (job.family == Family.META, "it is an ensemble itself"),
        (job.dataset != spec.get("dataset", DEFAULT), f"it reads the data set {job.dataset}"),
        (job.state is JobState.VETOED, f"vetoed: {job.veto or 'a guardrail rejected the result'}"),
        (job.state is not JobState.SUCCEEDED, _ENDED_WORDS.get(job.state, f"it is {job.state}")),
        (job.damage is not None, f"its run is damaged: {job.damage}"),
        (
            job.snapshot != spec.get("snapshot"),
            f"it was trained on snapshot {snapshot} of the data, this job reads {own_snapshot}",
        ),
        (_backtest(job) is None, "it forecasts no price"),
        (scheme != own_scheme, f"it was judged by {scheme}, this job by {own_scheme}"),
        (not spec.get("after") and job.model in BARS, "it is a baseline"),
    )
    return next((words for is_so, words in reasons if is_so), None)


def _backtest(job: JobRow) -> dict[str, Any] | None:
    """Return the scores of its price forecasts; None without."""
    found = (job.metrics or {}).get("backtest")
    return found if isinstance(found, dict) and "skill_mae" in found else None


def _scheme(found: Mapping[str, Any]) -> str:
    scheme = found.get("scheme")
    return scheme if isinstance(scheme, str) else HOLDOUT
