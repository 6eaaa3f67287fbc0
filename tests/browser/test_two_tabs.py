"""Two tabs of one browser that came through `cbi-queue open`: what one changes, the other shows, and typing is safe."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from support.api_installation import ApiInstallation
from support.waiting import until

from cbi_queue.api import sessions
from cbi_queue.ledger import queries, verbs
from cbi_queue.ledger.holds import holds_in_force

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SOON_MS = 15_000


def held(site: ApiInstallation) -> list[tuple[str, str]]:
    with site.ledger() as ledger:
        return [(hold.mode, hold.words) for hold in holds_in_force(ledger)]


def open_pause_menu(page: Page) -> None:
    page.locator("details.menu > summary").click()


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_what_one_tab_changes_the_other_shows_and_what_is_typed_stays(tmp_path: Path):
    from playwright.sync_api import sync_playwright

    site = ApiInstallation(tmp_path)
    site.environ["CBI_PAGE_READING"] = "token"
    site.enqueue({"name": "now"}, {"name": "next"})
    site.start_next()
    site.report("now", [0.9, 0.7])
    with site.daemon(), site.server(), sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        stranger = chromium.new_page()
        assert stranger.goto(f"{site.url}/status").status == 401
        assert "cbi-queue open" in stranger.locator("main").inner_text()

        browser = chromium.new_context()
        tabs = [browser.new_page(), browser.new_page()]
        faults: list[str] = []
        for tab in tabs:
            tab.set_default_timeout(SOON_MS)
            tab.on("pageerror", lambda error: faults.append(str(error)))
            tab.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        # from a file, as `cbi-queue open` does: the first page has the cookie already
        opener = tmp_path / "open.html"
        link = sessions.new_link(site.settings)
        opener.write_text(f'<meta http-equiv="refresh" content="0; url={link}">')
        tabs[0].goto(opener.as_uri())
        tabs[0].wait_for_url(f"{site.url}/status")
        tabs[1].goto(f"{site.url}/jobs/next")
        assert link.rpartition("/")[2] not in str(browser.cookies())
        assert tabs[0].evaluate("document.cookie") == "", "no script can read it"

        # typing in one tab survives what happens in the other
        priority = tabs[1].locator("form[action$=priority] input[name=priority]")
        priority.fill("77")
        tabs[1].evaluate("window.loadedOnce = true")
        open_pause_menu(tabs[0])
        panel = tabs[0].locator("form[action='/pause']")
        panel.locator("[name=mode]").select_option("drain")
        panel.locator("[name=for]").fill("soon")
        panel.get_by_role("button").click()
        tabs[0].locator("#said.bad", has_text="a time such as 90s").wait_for()
        assert panel.locator("[name=for]").input_value() == "soon", "to be corrected, not typed again"
        assert held(site) == []
        panel.locator("[name=for]").fill("30m")
        panel.locator("[name=reason]").fill("<i>too warm</i>")
        panel.get_by_role("button").click()
        tabs[0].locator("#said", has_text="Draining").wait_for()
        assert held(site) == [("drain", "<i>too warm</i>")]
        tabs[0].get_by_text("<i>too warm</i>").first.wait_for()

        tabs[1].get_by_role("button", name="Hold").click()
        tabs[1].locator("#said", has_text="next is held now.").wait_for()
        tabs[1].get_by_role("button", name="Release").wait_for()
        assert priority.input_value() == "77"
        tabs[1].get_by_role("button", name="Set priority").click()
        tabs[1].locator("#said", has_text="next has priority 77 now.").wait_for()
        with site.ledger() as ledger:
            assert queries.find_job(ledger, "next").priority == 77

        tabs[0].get_by_role("button", name="Resume").click()
        until(lambda: held(site) == [], "the hold is lifted")
        with site.ledger() as ledger:
            verbs.cancel(ledger, ["next"])
        tabs[1].get_by_role("button", name="Retry").wait_for()
        assert tabs[1].evaluate("window.loadedOnce") is True

        sessions.revoke_all(site.settings)
        tabs[0].get_by_text("reading needs a right here").wait_for()
        chromium.close()
    assert [each for each in faults if "401" not in each and "422" not in each] == []
