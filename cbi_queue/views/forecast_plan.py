"""When the jobs of plans will be done, whether they are in the queue or not. Read-only."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cbi_queue.identity import content_of
from cbi_queue.views.finish import QueueFinish, finish_of
from cbi_queue.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cbi_queue.eta import Pending
    from cbi_queue.ledger import HoldRow
    from cbi_queue.spec import JobSpec
    from cbi_queue.views.finish import QueueForecast


@dataclass(frozen=True, slots=True)
class PlanForecast:
    """The queue with the jobs of plans in it."""

    forecast: QueueForecast
    jobs: int
    done: int
    """Jobs of the plans that have ended."""
    new: int
    """Jobs of the plans that are not in the queue: counted as if they were enqueued now."""
    changed: int
    """Of those in the queue, jobs of the same name and another content: edited, or of another plan."""
    ids: frozenset[int]
    """Of the jobs of the plans that have not ended."""

    @property
    def words(self) -> str:
        """Say what is counted."""
        parts = [f"{self.done} ended", f"{len(self.ids) - self.new} in the queue"]
        if self.changed:
            parts[-1] += f" ({self.changed} with another content than the plan's)"
        if self.new:
            parts.append(f"{self.new} not enqueued yet, counted as if enqueued now")
        return f"{counted(self.jobs, 'job')} of the plan: {', '.join(parts)}"

    @property
    def why_nothing_runs(self) -> str:
        """Say why the plan has no finish when none of its jobs is to run."""
        return "none of its jobs can run: held, or waiting for you" if self.ids else "every job of it has ended"

    def upto_last(self, order: Sequence[Pending]) -> list[Pending]:
        """Return *order* up to the last job of the plans: what must run before they are done."""
        last = max((place for place, job in enumerate(order, 1) if job.id in self.ids), default=0)
        return list(order[:last])


def plan_finish(
    plan: PlanForecast,
    holds: Iterable[HoldRow],
    *,
    daemon_works: bool,
    pending: Sequence[Pending] | None = None,
) -> QueueFinish:
    """Return when the last job of the plans is done, with all that runs before it; *pending* as in `queue_finish`."""
    order, idle_s = plan.forecast.ordered(pending)
    order = plan.upto_last(order)
    if not order and plan.forecast.running_id not in plan.ids:
        return QueueFinish("empty", plan.why_nothing_runs, left_out=len(plan.ids))
    return finish_of(plan.forecast, order, idle_s, holds, daemon_works=daemon_works)


def plan_forecast(forecast: QueueForecast, specs: Sequence[JobSpec]) -> PlanForecast:
    """Add the jobs of plans that are not in the queue to its forecast, after what is there.

    A job of a plan is the newest one here of the same content, whatever its data; else the one of its name that has not
    ended: it was edited, and its plan is refused as long.
    """
    wanted = {spec.name: content_of(json.loads(spec.canonical_json())) for spec in specs}
    same = {
        name: number for number, name, text in forecast.named(wanted) if content_of(json.loads(text)) == wanted[name]
    }
    newest = {name: number for number, name in forecast.names.items()}
    ids, done, first_new = set(), 0, max(forecast.names, default=0) + 1
    added: dict[str, int] = {}
    changed = 0
    for spec in specs:
        number = same.get(spec.name)
        named = newest.get(spec.name)
        if number is None and named is not None and not forecast.has_ended(named):
            number, changed = named, changed + 1
        if number is None:
            added[spec.name] = first_new + len(added)
        elif forecast.has_ended(number):
            done += 1
        else:
            ids.add(number)
    numbers = {**newest, **same, **added}
    for spec in specs:
        if spec.name in added:
            needs = tuple(numbers.get(need, 0) for need in spec.waits_for)
            forecast.add(
                added[spec.name], spec.name, spec.family, spec.model, spec.horizon,
                params=json.dumps(spec.params, sort_keys=True, separators=(",", ":")), dataset=spec.dataset,
                priority=spec.priority, retries=spec.retries, needs=needs,
            )  # fmt: skip
    return PlanForecast(forecast, len(specs), done, len(added), changed, frozenset({*ids, *added.values()}))
