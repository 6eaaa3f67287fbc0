"""`cbi-queue profile list|show|detect`: the hardware profiles, and which one fits this machine."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from cbi_queue.cli.arguments import VerbGroup, examples, json_option
from cbi_queue.cli.output import print_json, print_table

if TYPE_CHECKING:
    from cbi_queue.hardware import HardwareProfile


@click.group(cls=VerbGroup, epilog=examples("profile list", "profile show m4-16gb", "profile detect"))
def command() -> None:
    """Show hardware profiles: memory limits, devices and the governor's thresholds. Changes nothing."""


@command.command("list", epilog=examples("profile list --json"))
@json_option
def list_(as_json: bool) -> None:
    """List the shipped profiles and your own. A faulty file is refused with its line."""
    from cbi_queue.hardware import known_profiles, profile_named
    from cbi_queue.settings import load_settings

    folder = load_settings().profiles_dir
    profiles = [profile_named(name, folder) for name in known_profiles(folder)]
    if as_json:
        print_json([_plain(profile) for profile in profiles])
        return
    columns = ("profile", ">memory", ">trainer", ">net on GPU", "devices", "words")
    print_table("Hardware profiles, MiB", columns, map(_row, profiles))


@command.command(epilog=examples("profile show cuda --json"))
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """Show one profile as its file defines it, with every threshold."""
    from cbi_queue.hardware import profile_named
    from cbi_queue.settings import load_settings

    _show(profile_named(name, load_settings().profiles_dir), "", as_json=as_json)


@command.command(epilog=examples("profile detect"))
@json_option
def detect(as_json: bool) -> None:
    """Show the profile that fits this machine, and why. CBI_PROFILE is ignored."""
    from cbi_queue.hardware.detection import AUTO, profile_for
    from cbi_queue.settings import load_settings

    chosen = profile_for(AUTO, load_settings().profiles_dir)
    _show(chosen.profile, chosen.why, as_json=as_json)


def _show(profile: HardwareProfile, why: str, *, as_json: bool) -> None:
    plain = _plain(profile)
    if as_json:
        print_json({**plain, "why": why} if why else plain)
        return
    thresholds = plain.pop("thresholds")
    click.secho(f"{profile.name}: {profile.words}", bold=True)
    if why:
        click.echo(why)
    absent = "none" if why else "as detected"
    figures = [(key, _cell(value, absent)) for key, value in plain.items() if key not in {"name", "words"}]
    print_table("", ("key", "value"), figures)
    click.echo()
    rows = [
        (key, _cell(value), profile.thresholds.limits_of(key).unit, profile.thresholds.limits_of(key).why)
        for key, value in thresholds.items()
    ]
    print_table("Thresholds of the governor", ("threshold", ">value", "unit", "why"), rows)


def _row(profile: HardwareProfile) -> tuple[str, ...]:
    figures = (profile.memory_mib, profile.working_set_mib, profile.accelerator_mib)
    return (profile.name, *map(_cell, figures), ", ".join(profile.devices), profile.words)


def _plain(profile: HardwareProfile) -> dict[str, Any]:
    another = "a kind that no profile names"
    other = {"batch": profile.batch_ceiling_for(another), "precision": profile.precision_for(another)}
    return {**asdict(profile), "kinds_not_named": other}


def _cell(value: Any, absent: str = "as detected") -> str:
    if value is None:
        return absent
    if isinstance(value, dict):
        return ", ".join(f"{key} {each}" for key, each in value.items())
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return (
        f"{value:g}"
        if isinstance(value, float) and value < 1000
        else str(round(value) if isinstance(value, float) else value)
    )
