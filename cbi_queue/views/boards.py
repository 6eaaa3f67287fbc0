"""Which scored jobs stand on one board: those whose figures can be compared. Pure: rows in, rows out.

Scores of different data, of different schemes or of other rows cannot be compared. So every data set, every snapshot of
it, every scheme and every split into validation, backtest and final block has boards of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbi_queue.datasets.place import DEFAULT
from cbi_queue.lifecycle import JobState
from cbi_queue.models.kinds import BARS, HORIZONS, SPLIT_PARAMS
from cbi_queue.views.stored_values import object_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cbi_queue.ledger import JobRow

    Rows = tuple[int | None, ...]
    Place = tuple[bool, bool, str, int, bool, int, int, int]
    _Key = tuple[str, str, str | None, str, Rows]

HOLDOUT, WALK_FORWARD = "holdout", "walk_forward"
SCHEME_WORDS = {HOLDOUT: "holdout", WALK_FORWARD: "walk-forward"}


def has_price_scores(job: JobRow) -> bool:
    """Return True if *job* ended with scores of its forecasts of the price."""
    return job.state in {JobState.SUCCEEDED, JobState.VETOED} and isinstance((job.metrics or {}).get("backtest"), dict)


def has_volatility_scores(job: JobRow) -> bool:
    """Return True if *job* ended with scores of its forecasts of the variance."""
    return _has_scores(job, "volatility")


def has_regime_scores(job: JobRow) -> bool:
    """Return True if *job* ended with scores of its probabilities of regimes."""
    return _has_scores(job, "regimes")


def _has_scores(job: JobRow, key: str) -> bool:
    return job.state in {JobState.SUCCEEDED, JobState.VETOED} and isinstance((job.metrics or {}).get(key), dict)


KINDS: dict[str, Callable[[JobRow], bool]] = {
    "": has_price_scores, "volatility": has_volatility_scores, "regimes": has_regime_scores,
}  # fmt: skip
"""What the titles of a kind end in -> which jobs its boards have, in the order in which they are shown."""


def boards_of(jobs: Iterable[JobRow], kind: str = "") -> dict[str, list[JobRow]]:
    """Group the scored jobs into boards.

    Args:
        jobs: any jobs; those that did not end with scores are omitted, and of several jobs of one name only the newest
            counts.
        kind: of `KINDS`.

    Returns:
        Title of the board -> jobs. A title is the horizon, as `1w`; then the data set, unless it is the default one;
        then `walk-forward`, unless the scheme is holdout; then, for any but the newest snapshot of data set and
        horizon, `older data` and its first characters; then, for any but the split that most models have, `on other rows`
        and what differs; then the kind. The newest data come first, the default data set, the shortest horizon, walk-forward.
    """
    return {title: listed for title, (_, listed) in placed_boards(jobs, kind).items()}


def placed_boards(jobs: Iterable[JobRow], kind: str = "") -> dict[str, tuple[Place, list[JobRow]]]:
    """Return title -> its place in the order of the boards, and its jobs; as `boards_of`."""
    newest: dict[tuple[str, str, str | None, str, str], JobRow] = {}
    for job in sorted(filter(KINDS[kind], jobs), key=lambda job: job.id):
        newest[job.dataset, job.horizon, job.snapshot, scheme_of(job), job.name] = job
    boards: dict[_Key, list[JobRow]] = {}
    for whose, job in newest.items():
        boards.setdefault((*whose[:4], rows_of(job)), []).append(job)
    changed: dict[tuple[str, str, str | None], int] = {}
    """Data set, horizon, snapshot -> its newest job."""
    for key, listed in boards.items():
        changed[key[:3]] = max(changed.get(key[:3], 0), *(job.id for job in listed))
    latest = {key[:2]: key for key in sorted(changed, key=lambda key: changed[key])}

    def place(key: _Key) -> Place:
        dataset, horizon, _, scheme, _ = key
        is_older = latest[key[:2]] != key[:3]
        order = HORIZONS.index(horizon) if horizon in HORIZONS else len(HORIZONS)
        models = sum(job.model not in BARS for job in comparable(boards[key]))
        by_age = -changed[key[:3]], -models, -max(job.id for job in boards[key])
        return is_older, dataset != DEFAULT, dataset, order, scheme == HOLDOUT, *by_age

    first: dict[tuple[str, str, str | None, str], Rows] = {}
    placed = {}
    for key in sorted(boards, key=place):
        usual = first.setdefault(key[:4], key[4])
        words = [board_title(*key[:4], is_newest=latest[key[:2]] == key[:3])]
        words += [other_rows(key[4], usual)] if key[4] != usual else []
        placed[" ".join([*words, *([kind] if kind else [])])] = place(key), boards[key]
    return placed


def comparable(jobs: Iterable[JobRow]) -> list[JobRow]:
    """Return the jobs of a board whose scores count: neither vetoed nor damaged."""
    return [job for job in jobs if job.damage is None and job.state is JobState.SUCCEEDED]


def comparable_boards(jobs: Iterable[JobRow]) -> dict[str, list[JobRow]]:
    """Return the boards of prices and of volatility -> their jobs whose scores count: what is compared with each other."""
    listed = list(jobs)
    boards = boards_of(listed) | boards_of(listed, "volatility")
    return {title: counted for title, runs in boards.items() if (counted := comparable(runs))}


def scheme_of(job: JobRow) -> str:
    """Return how a job was judged."""
    found = (job.metrics or {}).get("scheme")
    return found if isinstance(found, str) else HOLDOUT


def rows_of(job: JobRow) -> Rows:
    """Return the `SPLIT_PARAMS` of a job, which say what rows of its snapshot it was judged on; None: not known."""
    params = object_of(job.spec.get("params"))
    found = tuple(value if isinstance(value := params.get(name), int) else None for name in SPLIT_PARAMS)
    return found if scheme_of(job) == WALK_FORWARD else (*found[:-1], None)  # a hold-out has no final block


def other_rows(rows: Rows, usual: Rows) -> str:
    """Say how the *rows* of a board differ from the *usual* ones of its data and scheme."""
    names = zip(SPLIT_PARAMS, rows, usual, strict=True)
    words = [
        f"{name.removesuffix('_rows').replace('_', ' ')} {'unknown' if own is None else own}"
        for name, own, theirs in names
        if own != theirs
    ]
    return f"on other rows ({', '.join(words)})"


def board_title(dataset: str, horizon: str, snapshot: str | None, scheme: str, *, is_newest: bool) -> str:
    """Name the boards of one horizon, snapshot of a data set and scheme."""
    words = [horizon]
    words += [dataset] if dataset != DEFAULT else []
    words += [SCHEME_WORDS.get(scheme, scheme)] if scheme != HOLDOUT else []
    words += [] if is_newest else [f"older data {(snapshot or 'unknown')[:8]}"]
    return " ".join(words)
