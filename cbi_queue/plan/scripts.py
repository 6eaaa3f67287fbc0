"""The keys of a script job -> the parameters of its model: placeholders filled in, paths made absolute and looked at."""

from __future__ import annotations

import itertools
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cbi_queue.models.kinds import Family
from cbi_queue.values.words import did_you_mean, seen

if TYPE_CHECKING:
    from cbi_queue.plan.expand import Combination, Complain, Entry
    from cbi_queue.plan.yaml_source import Source
    from cbi_queue.values.words import KeyPath

KEYS = (
    "command", "workdir", "environment", "environment_file", "inputs", "outputs", "memory_mib", "project", "rank_by",
    "mlflow",
)  # fmt: skip
"""Keys of a job that only a script has."""
_LIST_WORDS = "is no list; write the program and its arguments each by itself, as in [python, train.py, --lr, 0.1]"
_SHELL_WORDS = 'no shell reads a command; where one is wanted, write it out: command: [sh, -c, "a | b"]'
_INTERPRETERS = {
    re.compile(r"python[0-9.]*|pypy[0-9.]*"): re.compile(r"-[bBdEiIOPqRsSuvx]+"),
    re.compile(r"(?:ba|da|k|z)?sh"): re.compile(r"-[eluvx]+"),
    re.compile(r"Rscript|julia|node|ruby|perl"): re.compile(r"(?!)"),
}
"""Interpreters -> their options that take no value: what follows these is the script."""
_SCRIPTS = (".py", ".sh", ".bash", ".zsh", ".r", ".jl", ".js", ".mjs", ".rb", ".pl")
_MAX_NAMES = 2000
"""Names of a folder among which the nearest is looked for."""
_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


def script_words(key: KeyPath, error: Any) -> str | None:
    """Return what is wrong with a key that belongs to scripts, where it can be said better; None for others."""
    if error["loc"][-1:] == ("shell",) and error["type"] == "extra_forbidden":
        return f"'shell' is not allowed: {_SHELL_WORDS}"
    if "rank_by" in error["loc"]:
        allowed = "the one figure that ranks, with lower or higher for what comes first, as in rank_by: {error: lower}"
        return f"{seen(error.get('input'))} is not allowed; allowed: {allowed}"
    if key[-1:] == ("command",) and isinstance(error.get("input"), str):
        return f"{seen(error['input'])} {_LIST_WORDS}; {_SHELL_WORDS}"
    return None


def as_script(combination: Combination, entry: Entry, source: Source, complain: Complain) -> Combination:
    """Return the combination of a script with its keys as parameters of its model; any other as it is."""
    from cbi_queue.plan.expand import Combination

    values = dict(combination.values)
    if values.get("family") != Family.SCRIPT:
        for key in KEYS:
            if values.pop(key, None):
                complain((*entry.at, key), f"{key!r} belongs to jobs of family script; this one is of another")
        return Combination(values, combination.origins, combination.appended)
    if entry.broken & {*KEYS, "params", "family"}:
        known: dict[str, Any] = {key: value for key, value in values.items() if key not in KEYS}
        known["params"] = {"values": values.get("params", {})}  # so that nothing follows from what is told already
        return Combination(known, combination.origins, combination.appended)
    own = values.get("params", {})
    filled = {key: _filled(values.pop(key, None), own) for key in KEYS}
    written = str([entry.values.get(key) for key in KEYS])
    for name in (name for name in own if "{" + name + "}" not in written):
        complain(combination.origins.get(("params", name), (*entry.at, "params", name)), _unused(name))
    if source.is_copy and _complain_of_relative(filled, entry, complain):
        return combination
    params = {**_with_whole_paths(filled, Path(source.name).resolve().parent), "values": own}
    if not any(params["command"][:1]):
        complain(entry.at, "'command' is missing: the program and its arguments, as in [python, train.py]")
    is_first = not (entry.values.get("needs") or entry.values.get("after"))  # else another job may write its files
    if words := program_fault(params["command"], Path(params["workdir"]), params["environment"], is_first=is_first):
        complain((*entry.at, words[0]), words[1])
    for fault in filter(None, map(input_fault, params["inputs"] if is_first else ())):
        complain((*entry.at, "inputs"), fault)
    own_keys: dict[KeyPath, KeyPath] = {("params", key): (*entry.at, key) for key in KEYS}
    origins = {**combination.origins, **own_keys}
    return Combination({**values, "params": params}, origins, combination.appended)


def _with_whole_paths(filled: dict[str, Any], folder: Path) -> dict[str, Any]:
    workdir = _absolute(folder, filled["workdir"] or ".")
    return {
        "command": [str(part) for part in filled["command"] or ()],
        "workdir": str(workdir),
        "environment": filled["environment"] or {},
        "environment_file": filled["environment_file"] and str(_absolute(folder, filled["environment_file"])),
        "inputs": [str(_absolute(workdir, name)) for name in filled["inputs"] or ()],
        "outputs": filled["outputs"] or [],
        "memory_mib": filled["memory_mib"],
        "project": filled["project"],
        "rank_by": filled["rank_by"],
        "mlflow": filled["mlflow"] or False,
    }


def program_fault(
    command: list[str], workdir: Path, environment: dict[str, str], *, is_first: bool
) -> tuple[str, str] | None:
    """Return the key that is wrong with why, when *command* could not be started in *workdir*; None when it could.

    Args:
        command: the program and its arguments.
        workdir: folder in which it starts.
        environment: what is added to the daemon's.
        is_first: whether no job comes before it, which may write the files that it is made of.
    """
    if not os.path.isdir(workdir):  # noqa: PTH112 - never raises, as for a name that is too long
        return "workdir", f"{str(workdir)!r} is no folder; create it, or name another"
    if not command or not command[0]:
        return None
    words = _program_words(command[0], workdir, environment, is_first=is_first)
    script = _script_of(command, environment) if is_first and words is None else None
    if script is not None and _is_absent(workdir / script):
        words = f"there is no script {_missing(workdir / script)}"
    return ("command", words) if words else None


def _program_words(program: str, workdir: Path, environment: dict[str, str], *, is_first: bool) -> str | None:
    if "/" not in program:
        is_found = shutil.which(program, path=environment.get("PATH")) is not None
        return None if is_found else f"no program {program!r} is on the PATH; {_instead(program, workdir)}"
    path = workdir / program
    if not os.path.isfile(path):  # noqa: PTH113 - never raises, as for a name that is too long
        return f"there is no program {_missing(path)}" if is_first else None
    if not os.access(path, os.X_OK):
        return f"{str(path)!r} cannot be executed; run `chmod +x` on it, or name its interpreter first"
    return None


def _instead(program: str, workdir: Path) -> str:
    if " " in program:
        return f"write the program and its arguments apart ({program}), or have a shell read them (sh -c)"
    if os.path.isfile(workdir / program):  # noqa: PTH113 - as above
        return f"the one in the folder is './{program}'"
    return "install it, or write its whole path"


def _script_of(command: list[str], environment: dict[str, str]) -> str | None:
    """Return the file that an interpreter is told to run, where that is plain to see."""
    name = os.path.basename(command[0])  # noqa: PTH119 - a path would cost more
    flags = next((flags for interpreter, flags in _INTERPRETERS.items() if interpreter.fullmatch(name)), None)
    first = next(itertools.dropwhile(flags.fullmatch, command[1:]), "") if flags else ""
    if first.startswith("-") or not first.lower().endswith(_SCRIPTS):
        return None
    is_searched = name.endswith("sh") and "/" not in first  # as for a program
    return None if is_searched and shutil.which(first, os.F_OK, environment.get("PATH")) else first


def _is_absent(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):  # such as a folder that this user may not enter: who knows what is there
        return False
    return False


def _missing(path: Path) -> str:
    try:
        with os.scandir(path.parent) as entries:
            near = did_you_mean(path.name, [entry.name for entry in itertools.islice(entries, _MAX_NAMES)])
    except OSError:
        near = ""
    return f"{str(path)!r}{near}; a path is seen from the workdir"


def _complain_of_relative(filled: dict[str, Any], entry: Entry, complain: Complain) -> bool:
    """Complain about paths that would be seen from the folder of the plan; return True if there are any."""
    found = False
    for key in ("workdir", "environment_file"):
        written = filled[key]
        if (Path(written).expanduser().is_absolute()) if written else key != "workdir":
            continue
        found = True
        what = f"{written!r} is relative" if written else f"{key!r} is missing, which means the plan's own folder"
        words = f"{what}, and this plan is a text without a folder; write a whole path, as in {key}: /home/me/project"
        complain((*entry.at, key) if written else entry.at, words)
    return found


def input_fault(path: str) -> str | None:
    """Return what is wrong with an input file, in words; None when it can be read."""
    if os.path.isfile(path) and os.access(path, os.R_OK):  # noqa: PTH113 - as above
        return None
    is_folder = os.path.isdir(path)  # noqa: PTH112 - as above
    nothing = "is no file that can be read; paths are seen from the workdir"
    return f"the input {path!r} {'is a folder; name its files' if is_folder else nothing}"


def _unused(name: str) -> str:
    return f"the command never mentions {{{name}}}, so the parameter changes nothing; write it there, or leave it out"


def _filled(value: Any, facts: dict[str, Any]) -> Any:
    """Put parameters in place of their placeholders; braces that name none are text, as in JSON or awk."""
    if isinstance(value, str):
        return _PLACEHOLDER.sub(lambda found: str(facts[found[1]]) if found[1] in facts else found[0], value)
    if isinstance(value, list):
        return [_filled(item, facts) for item in value]
    if isinstance(value, dict):
        return {key: _filled(item, facts) for key, item in value.items()}
    return value


def _absolute(folder: Path, written: str) -> Path:
    return Path(os.path.normpath(folder / Path(written).expanduser()))
