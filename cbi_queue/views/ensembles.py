"""What is told of an ensemble: its members, who was left out, and how it compares with the best single one. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cbi_queue.views.job_words import signed
from cbi_queue.views.stored_values import number_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

LEVEL = 0.05
"""A model is told apart from naive, and an ensemble from the best single model, when both p-values are at most this,
divided by the models, or ensembles, of the board."""
LEAST_INDEPENDENT = 6.0
"""Independent rows below which a skill has no interval: three blocks of 2h rows (`jobs.evaluation.significance`)."""


@dataclass(frozen=True, slots=True)
class AgainstBest:
    """An ensemble compared, on the backtest, with the member that the validation block ranks first."""

    name: str
    """That member's."""
    skill: float | None
    """1 - error / its error: above zero, the ensemble is better."""
    low: float | None
    high: float | None
    """The 95 % interval around it."""
    p_value: float | None
    dm_p_value: float | None
    independent: float | None
    same: bool
    """The forecasts are equal."""

    def beats(self, ensembles: int) -> bool:
        """Return True if the ensemble is better beyond luck, being one of *ensembles*."""
        p_values = self.p_value, self.dm_p_value
        return (
            (self.skill or 0.0) > 0
            and (self.independent or 0.0) >= LEAST_INDEPENDENT
            and all(p is not None and p <= LEVEL / max(ensembles, 1) for p in p_values)
        )

    @property
    def figures(self) -> str:
        """Write the skill with its interval."""
        interval = "" if self.low is None or self.high is None else f" ({signed(self.low)} to {signed(self.high)})"
        return f"{signed(self.skill)}{interval}"


def against_best_of(metrics: Mapping[str, Any]) -> AgainstBest | None:
    """Read the comparison from a run's metrics; None where there is none."""
    found = metrics.get("against_best")
    if not isinstance(found, dict) or not isinstance(found.get("name"), str):
        return None
    keys = ("skill", "low", "high", "p_value", "dm_p_value", "independent")
    figures = {key: number_of(found.get(key)) for key in keys}
    return AgainstBest(name=found["name"], same=found.get("same") is True, **figures)


def best_single_words(compared: Sequence[tuple[str, AgainstBest]]) -> list[str]:
    """Say whether an ensemble of a board beats the best single model; nothing without ensembles.

    Args:
        compared: name of each ranked ensemble, and its comparison.
    """
    if not compared:
        return []
    better = [(name, best) for name, best in compared if best.beats(len(compared))]
    if better:
        named = ", ".join(f"{name} (than {best.name}: {best.figures})" for name, best in better)
        return [f"Better than the best single model by validation, beyond luck: {named}."]
    name, best = max(compared, key=lambda pair: pair[1].skill or 0.0)
    nearest = "has the same forecasts" if best.same else f"has a skill against it of {best.figures}"
    return [f"No ensemble beats the best single model by validation, {best.name}, beyond luck: {name} {nearest}."]


def ensemble_lines(metrics: Mapping[str, Any]) -> Iterator[str]:
    """Yield who takes part, who does not and why, and the comparison, for the page of one job."""
    members = metrics.get("members")
    if not isinstance(members, list):
        return
    named = [_member(member) for member in members if isinstance(member, dict)]
    yield f"Combines {len(named)}: {'; '.join(named)}"
    left_out = metrics.get("left_out")
    for words in left_out if isinstance(left_out, list) else ():
        yield f"Left out: {words}"
    if (share := number_of(metrics.get("stacker_share"))) is not None:
        earned = f"{share:.0%}".replace("%", " %") + " of what its trees say is added to the members' mean"
        yield (
            earned
            if share
            else "Its forecasts are the members' mean: on validation the trees were not better beyond luck"
        )
    best = against_best_of(metrics)
    if best is not None:
        beats = "beats it beyond luck, taken alone" if best.beats(1) else "does not beat it beyond luck"
        same = "the same forecasts" if best.same else f"skill against it {best.figures}"
        yield f"Best single member by validation: {best.name}; {same}: {beats if not best.same else 'equal'}"


def _member(member: Mapping[str, Any]) -> str:
    weight = number_of(member.get("weight"))
    share = "" if weight is None else f", {weight:.0%}".replace("%", " %")
    return f"{member.get('name')} (run {member.get('run')}{share})"
