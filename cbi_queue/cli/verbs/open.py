"""`cbi-queue open`: open the status page in a browser, which may then read it and change the queue."""

from __future__ import annotations

import dataclasses

import click

from cbi_queue.api import sessions
from cbi_queue.cli.arguments import Whole, examples, json_option
from cbi_queue.cli.output import print_json
from cbi_queue.settings import load_settings


@click.command(
    epilog=examples(
        "open",
        "open --print       the link, to paste into a browser within a minute",
        "open --print --json",
        "open --revoke      no browser may change the queue any more",
        more="The right holds for one browser and 30 days. See docs/api.md#access.",
    )
)
@click.option("--port", type=Whole(1, 65535), help="Port of the page. Default: CBI_PORT, else 8000.")
@click.option("--print", "only_print", is_flag=True, help="Print the link instead of opening it.")
@click.option("--revoke", is_flag=True, help="Take the right from every browser, and void every link.")
@json_option
def command(port: int | None, only_print: bool, revoke: bool, as_json: bool) -> None:
    """Open the status page by a link that works once, for a minute, and gives that browser the right to change things.

    The page must be served: `cbi-queue serve`, or the service. Exit codes: 0, or 2 when it is not.
    """
    if revoke and only_print:
        raise click.UsageError("use --print or --revoke, not both")
    settings = load_settings()
    if port:
        settings = dataclasses.replace(settings, port=port)
    if revoke:
        count = sessions.revoke_all(settings)
        if as_json:
            print_json({"revoked": count})
            return
        click.echo(f"{count} {'browser has' if count == 1 else 'browsers have'} lost the right to change the queue.")
        return
    sessions.check_server(settings)
    link = sessions.new_link(settings)
    opened = not only_print and sessions.open_browser(settings, link)
    if as_json:
        print_json({"opened": opened, "link": None if opened else link, "within_s": sessions.LINK_S})
    elif not opened:
        click.echo(link)
        if not only_print:
            click.echo("No browser could be opened here: paste the link into one within a minute.", err=True)
