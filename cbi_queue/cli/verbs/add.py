"""`cbi-queue add -- COMMAND...`: a command of the user's own as a job, without a plan."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cbi_queue.cli.arguments import DurationType, MemoryType, Whole, complete_names, examples, json_option, ranking
from cbi_queue.cli.output import print_json

if TYPE_CHECKING:
    from cbi_queue.datasets.code_state import CodeState
    from cbi_queue.ledger import Ledger
    from cbi_queue.plain_script import PlainPlan
    from cbi_queue.spec import DayPlan

_UNSAFE = re.compile(r"[^a-z0-9]+")
_INTERPRETERS = re.compile(r"^(python[0-9.]*|bash|sh|zsh|env|node|rscript|julia|uv|run|nohup|setsid)$")
_A_PATH = re.compile(r"\S*/\S*|\S*\.(?:py|sh)")
_NAME_LENGTH = 60
_SOURCE = "cbi-queue add"


@click.command(
    context_settings={"ignore_unknown_options": False},
    epilog=examples(
        "add -- python train.py --lr 0.1",
        "add --name big --timeout 8h --after job-before -- ./train.sh",
        "add --project energy --rank-by error=lower -- python train.py --seed 2",
        "add -- make train",
        more="Exit codes: 0 done, 2 refused.",
    ),
)
@click.option("--name", help="Name of the job; default: made from the command.")
@click.option("--priority", type=Whole(-1000, 1000), default=0, help="Higher runs first; default 0.")
@click.option("--after", multiple=True, shell_complete=complete_names, help="Start when this job has ended.")
@click.option("--needs", multiple=True, shell_complete=complete_names, help="Start when this job has succeeded.")
@click.option("--timeout", type=DurationType(), help="Longest time of one attempt, pauses excluded: 90s, 30m, 2h, 1d.")
@click.option(
    "--workdir",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    default=Path(),
    help="Folder in which it starts; default: this one.",
)
@click.option("--env", "variables", multiple=True, metavar="NAME=VALUE", help="A variable that it gets; stored.")
@click.option(
    "--env-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File of NAME=value lines with secrets, readable by you alone; never stored.",
)
@click.option("--input", "inputs", multiple=True, metavar="FILE", help="A file that it reads: part of what the job is.")
@click.option(
    "--output", "outputs", multiple=True, metavar="GLOB", help="Files below the folder to keep: 'results/*.csv'."
)
@click.option("--memory", type=MemoryType(), help="Memory that must be free before it starts: 800M, 12G.")
@click.option("--project", help="Whose board it is on; default: the name of the folder.")
@click.option("--rank-by", metavar="NAME=lower|higher", help="The figure that ranks the project, and what comes first.")
@click.option("--mlflow", is_flag=True, help="Give it the address of our MLflow store, to log runs of its own.")
@click.option("--retries", type=Whole(0, 20), default=1, help="Further attempts after an error; default 1.")
@json_option
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND...")
def command(command: tuple[str, ...], variables: tuple[str, ...], *, as_json: bool, **options: Any) -> None:
    """Add a command of your own to the queue, and print the name of its job.

    It runs without a shell, in the folder where you are, with the daemon's environment and what `--env` adds.
    """
    from cbi_queue.cli.ledger_access import writable_ledger
    from cbi_queue.datasets.code_state import code_state, with_inputs
    from cbi_queue.datasets.snapshots import Snapshots
    from cbi_queue.ledger.enqueue import enqueue
    from cbi_queue.plan.scripts import input_fault, program_fault

    workdir = options["workdir"].absolute()
    environment = dict(map(_variable, variables))
    inputs = [os.path.normpath(workdir / name) for name in options["inputs"]]
    is_first = not (options["needs"] or options["after"])  # else another job may write its files
    if words := program_fault(list(command), workdir, environment, is_first=is_first):
        raise click.UsageError(f"cannot add the command: {words[1]}")
    for fault in filter(None, map(input_fault, inputs if is_first else ())):
        raise click.UsageError(f"cannot add the command: {fault}")
    code = code_state(workdir, command)
    secrets = options["env_file"]
    rank_by = dict([ranking(options["rank_by"])]) if options["rank_by"] else None
    params = {
        "command": list(command), "workdir": str(workdir), "environment": environment,
        "environment_file": str(secrets.absolute()) if secrets else None, "inputs": inputs,
        "outputs": list(options["outputs"]), "memory_mib": options["memory"],
        "project": options["project"], "rank_by": rank_by, "mlflow": options["mlflow"],
    }  # fmt: skip
    with writable_ledger() as ledger:
        name = options["name"] or free_name(ledger, command)
        spec = {
            "day": 0, "name": name, "family": "script", "model": "command", "horizon": "-", "params": params,
            "needs": list(options["needs"]), "after": list(options["after"]), "priority": options["priority"],
            "retries": options["retries"], "timeout_s": options["timeout"],
        }  # fmt: skip
        done = enqueue(ledger, [_plan_of(spec)], Snapshots(code={name: with_inputs(code.sha256, inputs)}))
    _print(done.new or done.already_there, code, as_json=as_json, is_new=bool(done.new))


def _plan_of(spec: dict[str, Any]) -> DayPlan | PlainPlan:
    """Check the job, and return the plan that holds it alone."""
    from cbi_queue.plain_script import PlainPlan, plain_script

    if (plain := plain_script(spec)) is not None:
        return PlainPlan((plain,), _SOURCE)
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # else each installed package is asked, for 10 ms
    from cbi_queue.spec import DayPlan, strict_spec

    try:
        job = strict_spec(spec)
    except ValueError as exc:
        raise click.UsageError(f"cannot add the command: {exc}") from exc
    return DayPlan.model_construct(day=0, source=_SOURCE, jobs=(job,))  # the job was checked just now


def _print(jobs: tuple[Any, ...], code: CodeState, *, as_json: bool, is_new: bool) -> None:
    job = jobs[0]
    if as_json:
        said = {"commit": code.commit, "dirty": code.is_dirty, "sha256": code.sha256}
        print_json({"name": job.name, "id": job.job_id, "state": job.state, "new": is_new, "code": said})
        return
    click.echo(job.name)
    if not is_new:
        click.echo(f"It is there already, as job {job.job_id} ({job.state}), and was left alone.", err=True)
    if code.is_dirty:
        click.echo("Its code has changes that are in no commit; they are part of what the job is.", err=True)


def free_name(ledger: Ledger, command: tuple[str, ...]) -> str:
    """Make a name from *command* that no job has yet."""
    from cbi_queue.ledger.queries import job_names

    parts = [Path(part).stem if _A_PATH.fullmatch(part) else part for part in command]
    while len(parts) > 1 and (parts[0].startswith("-") or _INTERPRETERS.match(parts[0].lower())):
        parts.pop(0)
    stem = _UNSAFE.sub("-", " ".join(parts).lower()).strip("-")[:_NAME_LENGTH].strip("-") or "command"
    if stem.isdigit():
        stem = f"command-{stem}"
    taken = set(job_names(ledger))
    name, number = stem, 2
    while name in taken:
        name, number = f"{stem}-{number}", number + 1
    return name


def _variable(written: str) -> tuple[str, str]:
    name, equals, value = written.partition("=")
    if not equals or not name:
        raise click.BadParameter(f"{written!r} is not NAME=VALUE, as in LR=0.1", param_hint="'--env'")
    return name, value
