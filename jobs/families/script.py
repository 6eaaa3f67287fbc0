"""A job that runs a command of the user's own: started, watched, paused, paced and ended with all its processes."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import stat
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, cast

from cbi_queue.artifacts import write_json
from cbi_queue.process_marks import NOTED, VARIABLE, stamp
from cbi_queue.protocol import Finished, Note, Started
from cbi_queue.regular_files import open_stream
from cbi_queue.values.written import shape_of
from jobs.process.channel import StopRequested, log
from jobs.script.exit_words import exit_words, memory_words
from jobs.script.link import ClientLink
from jobs.script.mlflow_runs import OwnRuns
from jobs.script.output import Output
from jobs.script.results import figures_of, keep_outputs, note_begin
from jobs.script.tree import Tree, adopt_orphans
from jobs.trainer import BrokenSpec, CommandFailed, CommandKilled

if TYPE_CHECKING:
    from cbi_queue.models.parameters.script import ScriptParams
    from jobs.trainer import Task

_LOOK_S = 0.1
"""Seconds between looks at the command and at the orders."""
_REAP_S = 2.0
_CLIENT_GRACE = 0.7
"""Share of the slot's grace time in which a script with a client writes its checkpoint and ends by itself."""
_GRACE = 0.85
"""Share of the slot's grace time after which nothing of the command is left: the rest is for the runner's own end."""
_LAST_OUTPUT_S = 5.0
_KILLED = {-signal.SIGKILL, 128 + signal.SIGKILL}
_MAX_SECRETS_BYTES = 65_536


class Script:
    """Runs one command."""

    def prepare(self, task: Task) -> Started:
        """Check what can be checked before the start.

        Raises:
            BrokenSpec: when the folder is gone or the secrets cannot be used.
        """
        params = cast("ScriptParams", task.spec.typed_params)
        if not Path(params.workdir).is_dir():
            raise BrokenSpec(f"the workdir {params.workdir} is no folder any more; create it, or change the job")
        self._environment = _environment(task, params)
        self._started = Started(total_epochs=1, unit="run", fingerprint=shape_of(params.command), can=("pace",))
        return self._started

    def train(self, task: Task) -> Finished:
        """Run the command to its end.

        Raises:
            BrokenSpec: when it cannot be started.
            CommandFailed: when it ends with another status than 0.
            MemoryError: when its last words say that memory ran out.
            StopRequested: when the slot ordered a stop; nothing of the command is left then.
        """
        params = cast("ScriptParams", task.spec.typed_params)
        adopt_orphans()
        stamp(os.environ.get(VARIABLE, ""))
        link = ClientLink(task, self._started)
        try:
            return self._run(task, params, link)
        finally:
            link.close()

    def _run(self, task: Task, params: ScriptParams, link: ClientLink) -> Finished:
        mlflow = OwnRuns(task, params)
        environment = {
            **mlflow.environment(),
            **self._environment,
            **link.environment(self._environment.get("PYTHONPATH", "")),
        }
        note_begin(task.checkpoint_dir)
        tree = Tree(os.environ.get(VARIABLE, ""), task.checkpoint_dir / NOTED)
        tree.before_resume = link.was_stopped
        begun_s = time.monotonic()
        process, output = _start(params, environment)
        task.channel.on_pause = tree.stop
        try:
            code = _watch(task, process, tree, link, output)
        except StopRequested:
            _end(task, process, tree, link)
            output.wait(1.0)
            raise
        finally:
            tree.kill()
            mlflow.tell()
            link.close()
        output.wait(_LAST_OUTPUT_S)
        if code:
            if (words := memory_words(output.last)) is not None:
                raise MemoryError(f"the command {exit_words(code)}: {words}")
            raise (CommandKilled if code in _KILLED else CommandFailed)(f"the command {exit_words(code)}")
        worked_s = time.monotonic() - begun_s - task.channel.paused_s
        figures = {**self._results(task, params), **link.metrics}
        metrics = {**figures, "exit_status": code, "fit_s": round(max(worked_s, 0.0), 3)}
        write_json(task.run_dir / "metrics.json", metrics)
        return Finished(metrics)

    def _results(self, task: Task, params: ScriptParams) -> dict[str, float]:
        def tell(words: str) -> None:
            task.channel.report(Note(words))

        folders = task.run_dir, task.checkpoint_dir
        for words in keep_outputs(Path(params.workdir), params.outputs, folders):
            tell(words)
        return figures_of(task.run_dir, tell)


def _start(params: ScriptParams, environment: dict[str, str]) -> tuple[subprocess.Popen[bytes], Output]:
    log(f"$ {shlex.join(params.command)}")
    read, write = os.pipe()
    try:
        process = subprocess.Popen(
            params.command,
            cwd=params.workdir,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=write,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as exc:
        os.close(read)
        raise BrokenSpec(f"cannot start {params.command[0]!r} in {params.workdir}: {exc.strerror}") from exc
    finally:
        os.close(write)
    return process, Output(read)


def _watch(task: Task, process: subprocess.Popen[bytes], tree: Tree, link: ClientLink, output: Output) -> int:
    """Obey the orders until the command ends; return its status."""
    noted_s, wait_s = time.monotonic(), _LOOK_S
    while True:
        try:
            return process.wait(_LOOK_S)
        except subprocess.TimeoutExpired:
            pass
        link.obey()
        link.saw_progress(output.progress)
        if task.channel.is_paced:
            tree.stop()
        task.channel.safe_point(link.epoch)
        tree.resume()
        if time.monotonic() - noted_s >= wait_s:  # often at first: most that leaves, leaves at the start
            noted_s, wait_s = time.monotonic(), min(2 * wait_s, _REAP_S)
            tree.note()
            tree.reap(keep=process.pid)


def _end(task: Task, process: subprocess.Popen[bytes], tree: Tree, link: ClientLink) -> None:
    """Have a script with a client write its checkpoint and end; end what is left, in the grace time in any case."""
    begun_s, grace_s = time.monotonic(), task.assignment.grace_s
    if link.has_client:
        link.order_stop()
        tree.resume()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace_s * _CLIENT_GRACE)
    tree.end(max(0.0, grace_s * _GRACE - (time.monotonic() - begun_s)))


def _environment(task: Task, params: ScriptParams) -> dict[str, str]:
    """Return the command's environment: the trainer's, the job's own variables, and its secrets."""
    own = {"CBI_QUEUE_JOB": f"{task.spec.name}.{task.assignment.attempt}"}
    secrets = _secrets(params) if params.environment_file else {}
    mark = {VARIABLE: os.environ[VARIABLE]} if VARIABLE in os.environ else {}
    return {**os.environ, **params.environment, **secrets, **own, **mark}


def _secrets(params: ScriptParams) -> dict[str, str]:
    path = Path(params.environment_file or "")
    try:
        with open_stream(path) as stream:
            mode = os.fstat(stream.fileno()).st_mode
            if stat.S_IMODE(mode) & 0o077:
                raise BrokenSpec(f"environment_file {path} can be read by others; run `chmod 600 {path}`")
            content = stream.read(_MAX_SECRETS_BYTES + 1)
            if len(content) > _MAX_SECRETS_BYTES:
                raise BrokenSpec(f"environment_file {path} has more than {_MAX_SECRETS_BYTES:,} bytes")
            text = content.decode()
    except OSError as exc:
        raise BrokenSpec(f"environment_file {path} cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise BrokenSpec(f"environment_file {path} is not UTF-8 text") from exc
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or "\0" in value:
            raise BrokenSpec(f"environment_file {path}, line {number}, is not NAME=value")
        found[name] = value
    return found
