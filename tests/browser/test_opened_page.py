"""A browser that came through `cbi-queue open`: two of its tabs, its forms with and without scripts, and a stranger."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from support.api_installation import ApiInstallation
from support.waiting import until

from cbi_queue.api import sessions
from cbi_queue.ledger.holds import holds_in_force

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.browser

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SOON_MS = 60_000


def held(site: ApiInstallation) -> list[tuple[str, str]]:
    with site.ledger() as ledger:
        return [(hold.mode, hold.words) for hold in holds_in_force(ledger)]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without"])
def test_the_cookie_of_a_link_lets_both_tabs_change_the_queue_until_it_is_revoked(tmp_path: Path, scripts: bool):
    from playwright.sync_api import sync_playwright

    site = ApiInstallation(tmp_path)
    site.environ["CBI_PAGE_READING"] = "token"
    site.enqueue({"name": "now"})
    with site.daemon(), site.server(), sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"], timeout=90_000
        )
        stranger = chromium.new_page()
        assert stranger.goto(f"{site.url}/status").status == 401
        assert "cbi-queue open" in stranger.locator("main").inner_text()

        browser = chromium.new_context(java_script_enabled=scripts)
        browser.set_default_timeout(SOON_MS)
        opener, link = tmp_path / "open.html", sessions.new_link(site.settings)
        opener.write_text(f'<meta http-equiv="refresh" content="0; url={link}">')  # as `open` does: from a file
        changes, shows = browser.new_page(), browser.new_page()
        changes.goto(opener.as_uri())
        changes.wait_for_url(f"{site.url}/status")
        shows.goto(f"{site.url.replace('127.0.0.1', 'localhost')}/status")
        shows.wait_for_url(f"{site.url}/status")  # where the cookie holds
        [cookie] = browser.cookies(site.url)
        assert (cookie["httpOnly"], cookie["sameSite"], cookie["value"] in link) == (True, "Strict", False)

        changes.locator("details.menu > summary").click()
        panel = changes.locator("form[action='/pause']")
        panel.locator("[name=mode]").select_option("drain")
        panel.locator("[name=reason]").fill("<i>too warm</i>")
        panel.get_by_role("button").click()
        until(lambda: held(site) == [("drain", "<i>too warm</i>")], "the slot is held")
        for page in (changes, shows):  # the other one by the stream, or by its reload every five seconds
            page.get_by_text("<i>too warm</i>").first.wait_for()
        shows.get_by_role("button", name="Resume").click()
        until(lambda: held(site) == [], "the hold is lifted")

        assert sessions.revoke_all(site.settings) == 1
        changes.get_by_text("reading needs a right here").wait_for()
        chromium.close()
