"""`cbi-queue export HORIZON`: the chosen model as a package that forecasts without cbi-queue, ready for Vertex AI."""

from __future__ import annotations

import contextlib
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from cbi_queue.cli.arguments import complete_names, examples, json_option
from cbi_queue.cli.ledger_access import readonly_ledger
from cbi_queue.cli.output import print_json, printable
from cbi_queue.cli.verbs.data.options import dataset_option
from cbi_queue.datasets.place import DEFAULT, of_dataset
from cbi_queue.errors import Refused
from cbi_queue.ledger.damage import check_runs
from cbi_queue.ledger.queries import find_job, scored_jobs
from cbi_queue.models.kinds import HORIZONS
from cbi_queue.orderly_end import ended_in_order
from cbi_queue.settings import load_settings
from cbi_queue.vertex.commands import REPLICAS, commands_for
from cbi_queue.vertex.names import shelf_name
from cbi_queue.vertex.packing import NoExporter, Packed, pack
from cbi_queue.views.winner import chosen_by_name, ranked_models

if TYPE_CHECKING:
    from cbi_queue.settings import Settings
    from cbi_queue.views.winner import Chosen


@click.command(
    epilog=examples(
        "export 1m",
        "export 1m --job lightgbm-1m --to ~/packages",
        "export 1w --json",
        more="Exit codes: 0 exported, 1 the export failed, 2 refused. Only 0 leaves a package.",
    )
)
@click.argument("horizon", type=click.Choice(HORIZONS))
@click.option(
    "--job",
    "name",
    metavar="NAME",
    shell_complete=complete_names,
    help="Its model, instead of the first of the board; its data set counts unless you name one.",
)
@dataset_option
@click.option(
    "--to", "to", type=click.Path(path_type=Path), metavar="FOLDER",
    help="Folder of the versions, instead of vertex-ai/HORIZON below the models.",
)  # fmt: skip
@json_option
@ended_in_order()
def command(horizon: str, name: str | None, dataset: str, to: Path | None, as_json: bool) -> None:
    """Write the model of HORIZON that ranks first as a package: ONNX, native files, preprocessing, a server.

    The package forecasts by itself: `python forecast.py FEATURES.csv` needs numpy and onnxruntime, and no cbi-queue. ONNX
    and native model are compared on held-out rows, and the package's newest forecast with the run's own: where they
    differ, nothing is written. Each export is a new version (v01, v02, …). The commands for Vertex AI are printed and
    never run.

    The first model of the newest board is taken, walk-forward before holdout, and what may be believed of it is said. One
    that cannot be written as ONNX (ARIMA, ETS, Theta) is passed over, and named. Vetoed runs are refused until they are
    accepted, damaged ones always.
    """
    settings = load_settings()
    settings.require_volume()
    is_named = click.get_current_context().get_parameter_source("dataset") is not ParameterSource.DEFAULT
    candidates = _candidates(horizon, name, dataset if is_named or name is None else None)
    shelf_of = shelf_name(horizon, candidates[0].job.dataset)
    shelf = to.expanduser().absolute() if to else settings.models / "vertex-ai" / shelf_of
    if to is None and settings.models.is_dir():
        with contextlib.suppress(OSError):  # `pack` says what is in the way
            shelf.parent.mkdir(parents=True, exist_ok=True)
    chosen, packed = _first_that_can(settings, candidates, shelf)
    if as_json:
        print_json(_plain(chosen, packed))
    else:
        _print(chosen, packed)


def _candidates(horizon: str, name: str | None, dataset: str | None) -> list[Chosen]:
    """Return the named job, or the ranked models, the best first. A named job may be of any data set if none is named."""
    with readonly_ledger() as ledger:
        jobs = scored_jobs(ledger)
        if name is None:
            return ranked_models(jobs, horizon, dataset or DEFAULT)
        job = find_job(ledger, name)
        asked = dataset or job.dataset
        if job.horizon != horizon:
            raise Refused(f"job {job.id} {job.name} is of {job.horizon}, not of {horizon}")
        if job.dataset != asked:
            raise Refused(f"job {job.id} {job.name} is of the data set {job.dataset}, not of {asked}")
        return [chosen_by_name(job, jobs)]


def _first_that_can(settings: Settings, candidates: list[Chosen], shelf: Path) -> tuple[Chosen, Packed]:
    """Export the first candidate for whose model there is an exporter; say why those before it were passed over."""
    passed_over: list[str] = []
    for candidate in candidates:
        chosen = replace(candidate, words=(*passed_over, *candidate.words))
        try:
            return chosen, _pack(settings, chosen, shelf)
        except NoExporter as exc:
            if len(candidates) == 1:
                raise
            passed_over.append(f"Ranked above it, and passed over: {exc.message}.")
    raise Refused("none of the ranked models can be exported:\n" + "\n".join(passed_over))


def _pack(settings: Settings, chosen: Chosen, shelf: Path) -> Packed:
    """Export one run whose files are what they were."""
    with readonly_ledger() as ledger:
        (check,) = check_runs(ledger, [chosen.job.id], settings.models)
    if check.damage is not None:
        raise Refused(
            f"the run of {check.name} is damaged: {check.damage}",
            hint=f"`cbi-queue retry {check.name}` trains it again; `cbi-queue verify` marks it",
        )
    return pack(
        chosen.job,
        Path(check.run_dir),
        of_dataset(settings.processed_dir, chosen.job.dataset),
        shelf,
        words=chosen.words,
        interpreter=settings.interpreter_for("native"),
        backends_python=settings.interpreter_for(chosen.job.backend),
    )


def _plain(chosen: Chosen, packed: Packed) -> dict[str, Any]:
    return {
        "job": chosen.job.name,
        "job_id": chosen.job.id,
        "board": chosen.board,
        "told_apart": chosen.row.told_apart,
        "words": list(chosen.words),
        "folder": str(packed.folder),
        **asdict(packed.names),
        **packed.facts,
        "commands": commands_for(packed.names),
    }


def _print(chosen: Chosen, packed: Packed) -> None:
    names, facts = packed.names, packed.facts
    latency = facts["latency"]
    one = latency["one_window"]
    click.secho(f"Exported {printable(chosen.job.name)} as {names.model_id}", bold=True)
    speed = f"{one['p50_ms']:.3g} ms (p50), {one['p99_ms']:.3g} ms (p99), load {latency['load_1_minute']:.3g}"
    for line in (
        f'"{names.display_name}", board {chosen.board}',
        *chosen.words,
        f"Package: {packed.folder}",
        f"ONNX and native model differ by at most {facts['parity']:.1e} standard deviations of the label",
        f"One window: {speed}: {latency['class']}",
    ):
        click.echo(printable(line))
    click.echo("\nForecast from it, with numpy and onnxruntime alone:\n")
    click.echo(f"  python {packed.folder / 'forecast.py'} {packed.folder / 'example.csv'}")
    click.echo("\nFor Vertex AI, in that folder and with your project for PROJECT (nothing was run):\n")
    for line in commands_for(names):
        click.echo(f"  {line}")
    click.echo(f"\n{REPLICAS}")
