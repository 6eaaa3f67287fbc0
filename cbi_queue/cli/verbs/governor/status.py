"""`cbi-queue governor status`: the readings, the governor's diagnosis and its holds."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from cbi_queue import clock
from cbi_queue.cli.arguments import examples, json_option
from cbi_queue.cli.output import ago, print_json, print_table, printable
from cbi_queue.ledger.holds import holds_in_force
from cbi_queue.ledger.queries import job_in_slot
from cbi_queue.lifecycle import HoldReason
from cbi_queue.readings.as_json import KINDS, readings_from_json
from cbi_queue.readings.in_words import reading_words
from cbi_queue.readings.values import Unknown
from cbi_queue.settings import load_settings
from cbi_queue.views.governor import AHEAD_S, STALE_S, left_alone_words
from cbi_queue.views.snapshot import open_snapshot
from cbi_queue.wording import span

if TYPE_CHECKING:
    from cbi_queue.ledger import HoldRow
    from cbi_queue.readings.values import Reading

OURS = frozenset({HoldReason.THERMAL, HoldReason.MEMORY})


@click.command(epilog=examples("governor status", "governor status --json"))
@json_option
def command(as_json: bool) -> None:
    """Show the readings, the diagnosis and the holds."""
    settings = load_settings()
    with open_snapshot(settings) as (ledger, telemetry):
        job, holds = job_in_slot(ledger), [hold for hold in holds_in_force(ledger) if hold.reason in OURS]
        found = telemetry.last_standing()
    if as_json:
        at, standing = found or (None, None)
        print_json(
            {
                "mode": settings.governor,
                "profile": settings.profile,
                "at": at,
                "standing": standing,
                "job": job.name if job else None,
                "holds": [asdict(hold) for hold in holds],
            }
        )
        return
    profile = found[1]["profile"] if found else settings.profile
    click.echo(f"Governor {settings.governor}, profile {profile}, job {job.name if job else 'none'}")
    if found is None:
        click.echo("No daemon has taken a sample yet; `cbi-queue sensors show` reads the sensors once.")
        return
    _print(*found, holds)


def _print(at: float, standing: dict[str, Any], holds: list[HoldRow]) -> None:
    if not -AHEAD_S <= clock.epoch_s() - at <= STALE_S:
        click.secho(f"This is out of date: the daemon wrote it {ago(at)}.", fg="yellow")
    click.echo(printable(_work_words(standing)))
    for sentence in standing.get("evidence", ()):
        click.echo(f"  - {printable(sentence)}")
    share = standing.get("cost_share")
    click.echo(f"Time lost to its steps: {'not known' if share is None else f'{share:.1%} of the last day'}")
    for sentence in left_alone_words(standing, max(0.0, clock.epoch_s() - at)):
        click.echo(printable(f"{sentence[:1].upper()}{sentence[1:]}."))
    for hold in holds:
        click.secho(f"Hold [{hold.reason}, {hold.mode}]: {printable(hold.words)}", fg="yellow")
    click.echo()
    now_s = clock.boot_s()
    readings = readings_from_json(standing["readings"], now_s - (clock.epoch_s() - at))
    rows = (_reading(kind, getattr(readings, kind), now_s) for kind in KINDS)
    print_table("Readings", ("kind", "?>age", "?source", "?trust", "value"), rows)


def _work_words(standing: dict[str, Any]) -> str:
    if standing.get("job_id") is None:
        return "No job is training."
    rung = standing.get("rung") or "full speed"
    factor = standing.get("factor")
    if factor is None:
        return f"At {rung}; no slow-down against the cold baseline is known."
    cause = (standing.get("cause") or "unknown").replace("_", " ")
    since, sure = standing["since_epoch"], standing["confidence"]
    return f"At {rung}; slow since epoch {since} by a factor of {factor:.2f}, cause: {cause} (confidence {sure:.0%})."


def _reading(kind: str, reading: Reading | Unknown, now_s: float) -> tuple[str, ...]:
    words = reading_words(reading)
    if isinstance(reading, Unknown):
        return (kind, "", "", "", words)
    return (kind, span(now_s - reading.at_s), reading.source, reading.trust, words)
