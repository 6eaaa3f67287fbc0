"""`cbi-queue restore [BACKUP]`."""

from __future__ import annotations

import click

from cbi_queue.cli.arguments import examples, json_option
from cbi_queue.cli.output import print_json, print_table
from cbi_queue.errors import SlotTaken
from cbi_queue.ledger.backups import Backup, backup_paths, chosen, inspect, restore
from cbi_queue.ledger.schema import SCHEMA_VERSION, ensure_schema
from cbi_queue.settings import load_settings
from cbi_queue.slot_lock import SlotLock


@click.command(
    epilog=examples(
        "restore            list the backups and check each",
        "restore newest     restore the newest sound one",
        "restore ledger-20261121T075723Z.db",
        more="Exit codes: 0 done, 2 refused, 75 a daemon is running.",
    )
)
@click.argument("backup", required=False)
@json_option
def command(backup: str | None, as_json: bool) -> None:
    """List the backups of the ledger, or restore BACKUP: a file's name, or `newest`.

    Nothing is deleted: the files of the old ledger are moved into a folder beside it. Jobs that ended after the
    backup was made are queued again.
    """
    settings = load_settings()
    if backup is None:
        _list([inspect(path, SCHEMA_VERSION) for path in backup_paths(settings.backup_dir)], as_json=as_json)
        return
    settings.make_state_dir()
    lock = SlotLock(settings.lock_path)
    if not lock.try_acquire():
        holder = lock.holder()
        raise SlotTaken(
            "nothing was restored: a daemon or its trainer is running",
            holder_pid=holder.pid if holder else None,
        )
    try:
        found = chosen(settings.backup_dir, backup, SCHEMA_VERSION)
        kept = restore(found, settings.ledger_path, ensure_schema)
    finally:
        lock.release()
    if as_json:
        print_json({**_plain(found), "replaced": None if kept is None else str(kept)})
        return
    click.echo(f"Restored {found.path.name}: {found.jobs} jobs, {found.unfinished} of them not ended.")
    if kept is not None:
        click.echo(f"The files of the old ledger are in {kept}.")
    click.echo("Enqueue the plans of the time since then, and start the daemon: `cbi-queue worker`, or the service.")


def _list(backups: list[Backup], *, as_json: bool) -> None:
    if as_json:
        print_json([_plain(backup) for backup in backups])
        return
    if not backups:
        click.echo("There is no backup yet: the daemon makes one a day.")
        return
    rows = [
        (
            backup.path.name,
            f"{backup.made_at:%Y-%m-%d %H:%M}",
            str(backup.jobs),
            str(backup.unfinished),
            backup.fault or "ok",
        )
        for backup in backups
    ]
    print_table("", ("backup", "made (UTC)", ">jobs", ">unfinished", "check"), rows)


def _plain(backup: Backup) -> dict[str, object]:
    return {
        "backup": backup.path.name,
        "made_at": backup.made_at.isoformat(),
        "jobs": backup.jobs,
        "unfinished": backup.unfinished,
        "fault": backup.fault,
    }
