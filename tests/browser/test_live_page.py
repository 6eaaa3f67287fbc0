"""Two tabs and their buttons: what is changed in one shows in the other, and nobody loses what he was typing."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from support.api_installation import ApiInstallation
from support.waiting import until

from cbi_queue.api.token import ensure_token
from cbi_queue.ledger import queries
from cbi_queue.ledger.holds import holds_in_force, place_hold
from cbi_queue.lifecycle import HoldMode, HoldReason

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, BrowserContext, Page

pytestmark = pytest.mark.browser

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SOON_MS = 60_000
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
SHOWN = """window.told = [];
window.Notification = class extends Notification {
    constructor(title, more) {
        super(title, more);
        this.addEventListener("show", () => told.push([title, more.body]));
    }
};"""
"""Notes each notification once the browser has shown it."""
HIDE = """() => {
    window.hidden = true;
    Object.defineProperty(document, "hidden", { get: () => window.hidden });
    document.dispatchEvent(new Event("visibilitychange"));
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"], timeout=90_000
        )
        yield chromium
        chromium.close()


@pytest.fixture
def site(tmp_path: Path) -> ApiInstallation:
    """A queue with a job in the slot and two that wait."""
    home = ApiInstallation(tmp_path)
    home.enqueue({"name": "now"}, {"name": "next"}, {"name": "last"})
    home.start_next()
    home.report("now", [0.9, 0.7])
    return home


def tab(
    browser: Browser | BrowserContext, site: ApiInstallation, path: str, faults: list[str], **options: object
) -> Page:
    """Open a tab that may change the queue, in a browser of its own or in one that is open."""
    headers = {"Authorization": f"Bearer {ensure_token(site.settings)}"}
    context = browser.new_context(extra_http_headers=headers, **options) if hasattr(browser, "new_context") else browser
    page = context.new_page()
    page.set_default_timeout(SOON_MS)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if "Content Security" in message.text else None)
    page.goto(f"{site.url}{path}")
    return page


def holds(site: ApiInstallation) -> list[str]:
    with site.ledger() as ledger:
        return [hold.words for hold in holds_in_force(ledger)]


def state(site: ApiInstallation, name: str) -> tuple[str, int]:
    with site.ledger() as ledger:
        job = queries.find_job(ledger, name)
        return job.state, job.priority


@needs_chromium
def test_what_one_tab_changes_the_other_hears_at_once_and_loses_nothing(browser, site):
    faults: list[str] = []
    with site.daemon(), site.server():
        one, two = (tab(browser, site, "/status", faults) for _ in range(2))
        two.locator(".menu summary").click()
        two.get_by_label("For how long").fill("3h")
        why = two.get_by_label("Why")
        why.fill("half a sen")
        why.evaluate("field => field.setSelectionRange(2, 4)")
        for page in (one, two):
            page.evaluate("window.loadedOnce = true")
        until(lambda: two.evaluate("stream.isOpen()"), "the stream is open")
        two.evaluate("window.heard = 0; stream.source.addEventListener('change', () => heard++)")
        for number in range(3):
            one.locator(".menu summary").click()
            one.get_by_label("Why").fill(f"too hot, {number}")
            one.get_by_label("What happens").select_option("drain")
            one.get_by_role("button", name="Pause the slot").click()
            two.get_by_text(f"too hot, {number}").first.wait_for()
            one.locator("#said").get_by_text("The job in the slot may finish; no other starts.").wait_for()
            assert holds(site) == [f"too hot, {number}"]
            one.get_by_role("button", name="Resume").click()
            two.locator(".alarm", has_text="too hot").wait_for(state="detached")
        assert two.evaluate("heard") >= 3, "it need not ask every other second"
        assert one.locator(".menu").get_attribute("open") is None
        assert one.evaluate("window.loadedOnce") is True
        assert two.locator(".menu").get_attribute("open") is not None
        assert (two.get_by_label("For how long").input_value(), why.input_value()) == ("3h", "half a sen")
        assert why.evaluate("f => [document.activeElement === f, f.selectionStart, f.selectionEnd]") == [True, 2, 4]
        two.get_by_label("For how long").fill("3x")
        two.get_by_role("button", name="Pause the slot").click()
        two.locator("#said", has_text="Not done: cannot pause: for: '3x' is not a length of time").wait_for()
        assert two.get_by_label("For how long").input_value() == "3x", "what was refused can be corrected"
        assert holds(site) == []
        assert two.evaluate("window.loadedOnce") is True
        two.close()
        assert faults == []


@needs_chromium
def test_more_tabs_than_a_browser_opens_connections_share_one_stream(browser, site):
    faults: list[str] = []
    with site.daemon(), site.server():
        first = tab(browser, site, "/status", faults)
        until(lambda: first.evaluate("stream.isOpen()"), "the stream is open")
        tabs = [tab(first.context, site, "/status", faults) for _ in range(7)]
        until(lambda: tabs[-1].evaluate("stream.isOpen()"), "the last one hears of the first one's stream")
        assert [page.evaluate("stream.source !== null") for page in (first, *tabs)] == [True, *[False] * 7]
        with site.ledger() as ledger:
            place_hold(ledger, HoldReason.USER, HoldMode.DRAIN, "the room is too hot")
        tabs[-1].get_by_text("the room is too hot").first.wait_for()
        first.close()
        until(lambda: any(page.evaluate("stream.source !== null") for page in tabs), "another tab takes over")
        assert faults == []


@needs_chromium
def test_the_buttons_of_a_job_work_with_scripts_and_without_and_a_failure_shows(browser, site):
    faults: list[str] = []
    with site.daemon(), site.server():
        one, status = tab(browser, site, "/jobs/next", faults), tab(browser, site, "/status", faults)
        for button, said, then in (
            ("Hold", "next is held.", "held"),
            ("Release", "next is queued.", "queued"),
            ("Cancel", "next is cancelled.", "cancelled"),
            ("Retry", "next is queued.", "queued"),
        ):
            one.get_by_role("button", name=button, exact=True).click()
            one.locator("#said", has_text=said).wait_for()
            one.locator(".facts .state", has_text=then).wait_for()
            assert state(site, "next")[0] == then
        one.get_by_label("Priority").fill("7")
        one.get_by_role("button", name="Set priority").click()
        one.locator(".pill", has_text="priority 7").wait_for()

        plain = tab(browser, site, "/jobs/last", faults, java_script_enabled=False)
        plain.get_by_role("button", name="Hold").click()
        plain.wait_for_url("**/jobs/*")
        assert state(site, "last")[0] == "held"
        assert plain.locator(".facts .state").inner_text() == "held"
        plain.get_by_label("Priority").evaluate("field => field.removeAttribute('max')")
        plain.get_by_label("Priority").fill("5000")
        plain.get_by_role("button", name="Set priority").click()
        plain.get_by_text("allowed: a whole number from -1000 to 1000").wait_for()

        site.fail("now", "column 'cot_net' is empty")
        status.locator(".alarm.bad", has_text="now failed").wait_for()
        status.get_by_role("button", name="Retry").click()
        status.locator("#said", has_text="now is queued.").wait_for()
        status.locator(".alarm.bad").wait_for(state="detached")
        assert faults == []


@needs_chromium
def test_the_stream_comes_back_with_the_server_and_a_hidden_tab_tells_of_a_failure(browser, site):
    faults: list[str] = []
    with site.daemon():
        with site.server():
            page = tab(browser, site, "/status", faults)
            page.context.grant_permissions(["notifications"], origin=site.url)
            page.add_init_script(SHOWN)
            page.reload()
            page.get_by_role("button", name="Notify me here of failures").click()
            page.get_by_role("button", name="Stop notifications", pressed=True).wait_for()
            until(lambda: page.evaluate("stream.isOpen()"), "stream.isOpen()")
        page.get_by_text("Server not reachable since").wait_for()
        marked = [page.title(), page.locator("link[rel=icon]").get_attribute("href")]
        assert marked == ["(!) no answer · cbi-queue", "/static/icon-alarm.svg"]
        site.fail("now", "boom <b>")  # while nobody could say so
        with site.server():
            page.locator("#lost").wait_for(state="hidden")
            assert page.title() == "(!) cbi-queue", "a job has failed meanwhile"
            until(lambda: page.evaluate("stream.isOpen()"), "stream.isOpen()")
            until(lambda: page.evaluate("told.length === 1"), "told.length === 1")
            assert page.evaluate("told") == [["now failed", "now failed: boom <b>"]]
            page.evaluate(HIDE)
            site.start_next()
            site.fail("next", "boom again")
            until(lambda: page.evaluate("told.length === 2"), "told.length === 2")
            assert page.locator(".alarm", has_text="boom again").count() == 0, (
                "a hidden tab is told, and fetches nothing"
            )
            page.evaluate("hidden = false; document.dispatchEvent(new Event('visibilitychange'))")
            page.locator("#more-failed", has_text="Failed otherwise: next").wait_for()
            page.get_by_role("button", name="Stop notifications").click()
            page.evaluate("hidden = true; document.dispatchEvent(new Event('visibilitychange'))")
            assert page.evaluate("stream.source") is None, "what nobody waits for is closed"
            page.context.close()
    assert faults == []
