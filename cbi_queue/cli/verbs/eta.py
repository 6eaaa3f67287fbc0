"""`cbi-queue eta [FILE]...`: when the queue, or plans, will be done, which jobs are at risk, and what a change would do."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from cbi_queue.cli.arguments import complete_names, examples, json_option, plan_files_argument
from cbi_queue.cli.output import finish_words, print_json, printable
from cbi_queue.settings import load_settings
from cbi_queue.values.written import core_value
from cbi_queue.views.finish import queue_finish
from cbi_queue.views.forecast_plan import plan_finish, plan_forecast
from cbi_queue.views.snapshot import open_forecast
from cbi_queue.wording import counted, duration

if TYPE_CHECKING:
    from pathlib import Path

    from cbi_queue.eta import Pending
    from cbi_queue.ledger import HoldRow
    from cbi_queue.views.finish import AtRisk, QueueFinish, QueueForecast
    from cbi_queue.views.forecast_plan import PlanForecast

MOST_FACTOR = 1000.0
RISKS_SHOWN = 10


class Factor(click.ParamType[float]):
    """A factor on the command line: `x0.5`."""

    name = "factor"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Turn the text into a number."""
        factor = core_value(value.removeprefix("x")) if isinstance(value, str) else value
        if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 < factor <= MOST_FACTOR:
            self.fail(f"{value!r} is not a factor; write x0.5 for half or x2 for twice (at most x1000)", param, ctx)
        return float(factor)


@click.command(
    epilog=examples(
        "eta",
        "eta schedules/day4.yaml",
        "eta --without lstm-1w --epochs x0.5",
        "eta --json | jq .finish.at",
        more="Exit codes: 0 shown, also when the finish is not known, 2 a plan has complaints or there is no such job.",
    )
)
@plan_files_argument(required=False)
@click.option(
    "--without",
    multiple=True,
    metavar="NAME",
    shell_complete=complete_names,
    help="What if this job, and what needs it, did not run? May be given several times.",
)
@click.option(
    "--epochs",
    type=Factor(),
    metavar="FACTOR",
    default="x1",
    help="What if every job that has not started trained for FACTOR times its epochs or rounds? Such as x0.5.",
)
@json_option
def command(files: tuple[Path, ...], without: tuple[str, ...], epochs: float, as_json: bool) -> None:
    """Show when the queue will be done; changes nothing.

    Learned from how long earlier runs took here, with the governor's pauses. In 8 of 10 cases the end lies in the range
    shown. With FILE: when the jobs of these plans will be done; those that are not in the queue are counted as if they
    were enqueued now.
    """
    with open_forecast(load_settings()) as (forecast, holds, daemon_works):
        plan = plan_forecast(forecast, _specs(files)) if files else None
        shown = forecast if plan is None else plan.forecast
        _check_names(shown, without)
        ask = partial(_finish, shown, plan, holds, daemon_works=daemon_works)
        finish = ask()
        order, _ = shown.ordered()
        risks = shown.at_risk(order)
        changed = None
        if without or epochs != 1.0:
            kept, dependents = shown.changed(without=without, length=epochs)
            changed = WhatIf(without, epochs, dependents, finish, ask(pending=kept))
    if as_json:
        print_json(_as_json(finish, plan, risks, changed))
    else:
        _print(finish, plan, risks, changed)


class WhatIf:
    """A change that was asked about, and what it would do."""

    def __init__(
        self, without: tuple[str, ...], epochs: float, dependents: int, before: QueueFinish, after: QueueFinish
    ) -> None:
        self.without, self.epochs, self.dependents, self.after = without, epochs, dependents, after
        is_known = before.work_s is not None and after.unknown == before.unknown == 0
        left_s = 0.0 if after.state == "empty" else after.work_s
        self.saved_s = before.work_s - left_s if is_known and before.work_s is not None and left_s is not None else None

    @property
    def words(self) -> str:
        """Say the change, and its effect as a difference."""
        parts = []
        if self.without:
            needs = f" that {'needs' if self.dependents == 1 else 'need'} {'it' if len(self.without) == 1 else 'them'}"
            also = f" and {counted(self.dependents, 'job')}{needs}" if self.dependents else ""
            parts.append(f"without {', '.join(self.without)}{also}")
        if self.epochs != 1.0:
            parts.append(f"with {self.epochs:g} times the epochs and rounds of what has not started")
        if self.saved_s is None:
            effect = "the difference is unknown, because the finish is"
        elif abs(self.saved_s) < 1.0:
            effect = "no difference"
        else:
            effect = f"{duration(abs(self.saved_s))} {'less' if self.saved_s > 0 else 'more'} work"
        return f"{' and '.join(parts)}: {effect}"


def _specs(files: tuple[Path, ...]) -> Any:
    from cbi_queue.cli.ledger_access import existing_ledger
    from cbi_queue.cli.verbs.enqueue import checked_plans

    settings = load_settings()
    with existing_ledger(settings) as ledger:
        plans = checked_plans(settings, ledger, files, no_data=True)
    return [job for plan in plans for job in plan.jobs]


def _check_names(forecast: QueueForecast, names: tuple[str, ...]) -> None:
    from difflib import get_close_matches

    from cbi_queue.errors import UnknownJob

    waiting = {forecast.names[job.id] for job in forecast.pending}
    for name in names:
        if name not in waiting:
            near = get_close_matches(name[:100], sorted(waiting), n=3)
            raise UnknownJob(
                f"--without {name}: no job of that name is waiting to run"
                + (f"; similar names: {', '.join(near)}" if near else ""),
                hint="`cbi-queue list` shows the jobs that have not ended",
            )


def _finish(
    forecast: QueueForecast,
    plan: PlanForecast | None,
    holds: list[HoldRow],
    *,
    daemon_works: bool,
    pending: list[Pending] | None = None,
) -> QueueFinish:
    if plan is not None:
        return plan_finish(plan, holds, daemon_works=daemon_works, pending=pending)
    return queue_finish(forecast, holds, daemon_works=daemon_works, pending=pending)


def _as_json(
    finish: QueueFinish, plan: PlanForecast | None, risks: list[AtRisk], changed: WhatIf | None
) -> dict[str, Any]:
    body: dict[str, Any] = {"finish": asdict(finish), "at_risk": [asdict(risk) for risk in risks]}
    if plan is not None:
        body["plan"] = {"jobs": plan.jobs, "done": plan.done, "not_enqueued": plan.new}
    if changed is not None:
        body["what_if"] = {
            "without": list(changed.without),
            "epochs": changed.epochs,
            "dependents": changed.dependents,
            "finish": asdict(changed.after),
            "saved_s": changed.saved_s,
        }
    return body


def _print(finish: QueueFinish, plan: PlanForecast | None, risks: list[AtRisk], changed: WhatIf | None) -> None:
    if plan is not None:
        click.echo(plan.words)
    click.echo(f"Finish: {printable(finish_words(finish))}")
    if risks:
        click.echo(f"At risk: {counted(len(risks), 'job')}")
        for risk in risks[:RISKS_SHOWN]:
            click.echo(f"  {printable(risk.job)}: {risk.words}")
        if len(risks) > RISKS_SHOWN:
            click.echo(f"  and {len(risks) - RISKS_SHOWN} more: `cbi-queue eta --json` lists all")
    if changed is not None:
        click.echo(f"What if {printable(changed.words)}")
        click.echo(f"  then: {printable(finish_words(changed.after))}")
