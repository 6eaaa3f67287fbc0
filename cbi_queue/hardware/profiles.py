"""The files of hardware profiles: those that ship, those of the user, read and checked.

Every number stands with its unit and its reason in the TOML file of its profile, in the folder beside this module.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cbi_queue.errors import SettingsError
from cbi_queue.hardware.profile import HardwareProfile
from cbi_queue.hardware.thresholds import thresholds_from
from cbi_queue.models.catalogue import BATCH_KINDS
from cbi_queue.models.outside import KIND_MARK
from cbi_queue.values.toml_source import read_toml
from cbi_queue.values.words import seen, unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SHIPPED_FOLDER = Path(__file__).with_name("profiles")
SHIPPED = ("m4-16gb", "m4-24gb", "m4-32gb", "m1max-32gb", "linux-cpu", "cuda")


def profile_named(name: str, user_folder: Path | None = None) -> HardwareProfile:
    """Return the profile called *name*: the user's own file of that name, else the one that ships.

    Args:
        name: file name without `.toml`.
        user_folder: where the user's own profiles lie; None: only those that ship.

    Raises:
        SettingsError: when there is none, or its file cannot be used.
    """
    known = known_profiles(user_folder)
    if name not in known:
        hint = f"write {user_folder / f'{name}.toml'}, or choose one of them" if user_folder else None
        raise SettingsError(f"hardware profile {name!r} is not known; allowed: {', '.join(known)}", hint=hint)
    return read_profile(name, known)


def known_profiles(user_folder: Path | None = None) -> dict[str, Path]:
    """Return the files of the profiles that ship and of the user's own, by name; the user's own come first."""
    own = sorted(user_folder.glob("*.toml")) if user_folder is not None and user_folder.is_dir() else []
    shipped = {name: SHIPPED_FOLDER / f"{name}.toml" for name in SHIPPED}
    return {**{path.stem: path for path in own}, **{n: p for n, p in shipped.items() if n not in {o.stem for o in own}}}


DEVICES = ("mps", "cuda", "cpu")
PRECISIONS = ("float32", "bfloat16", "float16")
OF_THE_MACHINE = "machine"
"""Written in place of a figure that is read from the machine."""
LONGEST_CHAIN = 8
"""Profiles that may extend each other in a row."""


def read_profile(name: str, files: Mapping[str, Path]) -> HardwareProfile:
    """Read the profile called *name*.

    Args:
        name: a key of *files*.
        files: every profile's file by name; a user's own file hides the one that ships under its name, and may
            extend that one by naming itself.

    Raises:
        SettingsError: when a file cannot be read, or a value in it is not allowed.
    """
    table = _completed(name, files)
    source = str(files[name])
    missing = [key for key in _CHECKS if key not in table and key not in _OPTIONAL]
    if missing:
        raise SettingsError(
            f"{source}: {missing[0]!r} is missing; write it, or `extends` a profile that has it: {', '.join(SHIPPED)}"
        )
    if not table["batch_ceilings"]:
        raise SettingsError(f"{source}: [batch_ceilings] is empty; name at least one of {', '.join(BATCH_KINDS)}")
    if table["hero_sequence_ceiling"] < table["sequence_ceiling"]:
        raise SettingsError(
            f"{source}: hero_sequence_ceiling is {table['hero_sequence_ceiling']}; it must be at least "
            f"sequence_ceiling, {table['sequence_ceiling']}"
        )
    thresholds = thresholds_from(table.pop("governor", {}), f"{source}: [governor]")
    figures: dict[str, Any] = {key: None if value == OF_THE_MACHINE else value for key, value in table.items()}
    return HardwareProfile(name, thresholds=thresholds, **figures)


def _completed(name: str, files: Mapping[str, Path]) -> dict[str, Any]:
    """Return the table of *name* over those of the profiles that it extends, tables merged key by key."""
    chain: list[dict[str, Any]] = []
    path: Path = files[name]
    for _ in range(LONGEST_CHAIN):
        table = _checked(path)
        chain.append(table)
        parent = table.pop("extends", None)
        if parent is None:
            break
        path = _file_of(parent, path, files)
    else:
        raise SettingsError(
            f"{files[name]}: the profiles that it extends form a circle, or a chain of more than {LONGEST_CHAIN}"
        )
    merged: dict[str, Any] = {}
    for table in reversed(chain):
        for key, value in table.items():
            merged[key] = {**merged.get(key, {}), **value} if isinstance(value, dict) else value
    return merged


def _file_of(parent: str, child: Path, files: Mapping[str, Path]) -> Path:
    if parent == child.stem and parent in SHIPPED and child.parent != SHIPPED_FOLDER:
        return SHIPPED_FOLDER / f"{parent}.toml"
    if parent not in files:
        raise SettingsError(f"{child}: extends is {parent!r}; allowed: {', '.join(files)}")
    return files[parent]


def _checked(path: Path) -> dict[str, Any]:
    file = read_toml(path, "the hardware profile")
    for key, value in file.table.items():
        if key not in _CHECKS:
            raise SettingsError(f"{file.place(key)}: {unknown('key', key, _CHECKS)}")
        file.table[key] = _CHECKS[key](f"{file.place(key)}: {key}", value)
    return file.table


def _refuse(where: str, value: object, allowed: str) -> SettingsError:
    return SettingsError(f"{where} is {seen(value)}; allowed: {allowed}")


def _text(where: str, value: object) -> str:
    if not isinstance(value, str) or not value or not value.isprintable():
        raise _refuse(where, value, "a line of text")
    return value


def _number(low: float, high: float, unit: str, *, machine: bool = False) -> Callable[[str, object], float | str]:
    allowed = f"{low:g} to {high:g} {unit}" + (f', or "{OF_THE_MACHINE}"' if machine else "")

    def check(where: str, value: object) -> float | str:
        if machine and value == OF_THE_MACHINE:
            return OF_THE_MACHINE
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise _refuse(where, value, allowed)
        return float(value)

    return check


def _whole(low: int, high: int, unit: str) -> Callable[[str, object], int]:
    def check(where: str, value: object) -> int:
        if type(value) is not int or not low <= value <= high:
            raise _refuse(where, value, f"a whole number from {low} to {high} {unit}")
        return value

    return check


def _per_kind(check: Callable[[str, object], Any]) -> Callable[[str, object], dict[str, Any]]:
    def check_table(where: str, value: object) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise _refuse(where, value, f"a table with {', '.join(BATCH_KINDS)}")
        if strange := [kind for kind in value if kind not in BATCH_KINDS and KIND_MARK not in kind]:
            raise _refuse(f"{where}.{strange[0]}", value[strange[0]], f"only {', '.join(BATCH_KINDS)}")
        return {kind: check(f"{where}.{kind}", each) for kind, each in value.items()}

    return check_table


def _one_of(*allowed: str) -> Callable[[str, object], str]:
    def check(where: str, value: object) -> str:
        if not isinstance(value, str) or value not in allowed:
            raise _refuse(where, value, ", ".join(allowed))
        return value

    return check


def _devices(where: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or any(each not in DEVICES for each in value):
        raise _refuse(where, value, f"a list of {', '.join(DEVICES)}, the preferred one first")
    return tuple(value)


def _table(where: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _refuse(where, value, "a table of thresholds")
    return value


_MOST_MIB = 4 * 2**20
_CHECKS: dict[str, Callable[[str, object], Any]] = {
    "extends": _text,
    "words": _text,
    "memory_mib": _number(1024, _MOST_MIB, "MiB", machine=True),
    "working_set_mib": _number(256, _MOST_MIB, "MiB", machine=True),
    "accelerator_mib": _number(256, _MOST_MIB, "MiB", machine=True),
    "goal_mib": _number(64, _MOST_MIB, "MiB"),
    "working_set_share": _number(0.1, 1.0, "of the memory"),
    "accelerator_share": _number(0.1, 1.0, "of the card's memory"),
    "sequence_ceiling": _whole(1, 4096, "steps"),
    "hero_sequence_ceiling": _whole(1, 4096, "steps"),
    "devices": _devices,
    "batch_ceilings": _per_kind(_whole(1, 4096, "samples")),
    "precision": _per_kind(_one_of(*PRECISIONS)),
    "governor": _table,
}
_OPTIONAL = frozenset({"extends", "accelerator_mib", "goal_mib", "working_set_share", "accelerator_share", "governor"})
