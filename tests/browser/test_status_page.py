"""The status page in a real browser, over a real server process and a real ledger."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.api_installation import ApiInstallation, scores
from support.waiting import until

from cbi_queue.ledger import queries
from cbi_queue.ledger.holds import lift_hold, place_hold
from cbi_queue.ledger.verbs import hold as hold_jobs
from cbi_queue.lifecycle import HoldMode, HoldReason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
MAC_CHROMIUMS = (
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-default-apps", "--disable-sync", "--no-first-run",
]  # fmt: skip
SOON_MS = 60_000
"""Until a change in the ledger shows: the page refreshes every 2 s, but a busy machine may stall for long."""
PHONE = {"width": 390, "height": 844}
PATIENT = 90_000
WORSE = {"serious", "critical"}
"""Impacts of axe-core's findings that fail a test."""
SLOW = {"factor": 1.42, "since_epoch": 3, "confidence": 0.93, "cause": "heat", "evidence": ["the level is heavy"]}


def _chromium() -> str | None:
    named = next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    return named or next((path for path in MAC_CHROMIUMS if Path(path).exists()), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = _chromium()
    if path is None and not os.environ.get("CI"):
        pytest.skip(f"no Chromium on this machine; install one of: {', '.join(CHROMIUM_NAMES)}")
    assert path, "CI must have a Chromium"
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=ARGUMENTS, timeout=PATIENT)
        yield chromium
        chromium.close()


@pytest.fixture
def site(tmp_path: Path) -> ApiInstallation:
    """A queue with a job done, one that runs and one that waits."""
    home = ApiInstallation(tmp_path)
    home.enqueue({"name": "done"}, {"name": "now"}, {"name": "next", "needs": ["now"]})
    home.start_next()
    home.finish("done", scores(0.25))
    home.start_next()
    home.report("now", [0.9, 0.7, 0.6, 0.65])
    return home


class Watched:
    """A page, with its console messages and network requests."""

    def __init__(self, browser: Browser, url: str, **options: object) -> None:
        self.context = browser.new_context(**options)
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(SOON_MS)
        self.complaints: list[str] = []
        self.asked: set[str] = set()
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.asked.add(request.url))
        self.page.goto(f"{url}/status", timeout=PATIENT)

    def _hear(self, message: object) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    def see(self, text: str) -> None:
        """Wait until *text* is to be seen."""
        self.page.get_by_text(text, exact=False).first.wait_for(state="visible")


@pytest.fixture
def watch(browser: Browser, site: ApiInstallation) -> Iterator[object]:
    """Open pages of a served queue; each is closed at the end."""
    opened: list[Watched] = []

    def open_page(**options: object) -> Watched:
        opened.append(Watched(browser, site.url, **options))
        return opened[-1]

    with site.daemon(), site.server():
        yield open_page
        for watched in opened:
            watched.context.close()


def test_the_page_shows_the_running_job_the_budget_and_the_queue(watch):
    page = watch().page

    assert page.title() == "now · cbi-queue"
    assert page.get_by_role("heading", level=1).inner_text() == "cbi-queue"
    assert page.locator(".headline").inner_text() == "now is training."
    bar = page.get_by_role("progressbar")
    assert (bar.get_attribute("value"), bar.get_attribute("max")) == ("4", "20")
    assert page.locator("svg.loss polyline").last.get_attribute("points").count(",") == 4
    assert page.get_by_role("link", name="next").first.get_attribute("href") == "/jobs/next"
    for fold in ("Budget of the week", "Queue"):
        page.get_by_role("region", name=fold).locator("summary").click()
    trees = page.locator(".budget tbody tr", has_text="trees").inner_text()
    assert re.search(r"1 done, 1 running, 1 queued\s+15.20\s+1/3", trees)
    assert re.search("60.70", page.locator(".budget tfoot").inner_text())
    assert page.locator(".budget tbody tr").count() == 8
    assert "waits for now (running)" in page.get_by_role("region", name="Queue").inner_text()
    assert "+25.00 %" in page.get_by_role("group", name="Leaderboard 1w").inner_text()


def test_a_change_appears_without_a_reload_and_keeps_focus_scroll_and_folds(watch, site):
    """Readers do not lose their place when the page refreshes."""
    site.enqueue(*({"name": f"later-{number}"} for number in range(30)))
    watched = watch(viewport={"width": 900, "height": 500})
    page = watched.page
    page.evaluate("window.loadedOnce = true")
    page.get_by_role("region", name="Queue").locator("summary").click()
    page.locator("footer a").first.focus()
    page.evaluate("window.scrollTo(0, 400)")

    with site.ledger() as ledger:
        place_hold(ledger, HoldReason.USER, HoldMode.DRAIN, "the room is too hot", for_s=3600)
    watched.see("the room is too hot")
    site.report("now", [0.9, 0.7, 0.6, 0.65, 0.5])
    watched.page.get_by_title("epoch 5/20").wait_for()

    assert page.evaluate("window.loadedOnce") is True
    assert page.evaluate("document.activeElement.textContent") == "JSON"
    assert page.get_by_role("region", name="Queue").locator("details").get_attribute("open") is not None
    assert page.evaluate("window.scrollY") > 0
    with site.ledger() as ledger:
        lift_hold(ledger, HoldReason.USER, "cooler now")
    page.locator(".alarm").wait_for(state="detached")
    assert watched.complaints == []


def test_the_governors_line_follows_without_a_reload(watch, site):
    """A slow-down and its cause appear while the page is open; all the rest is one click away."""
    site.stand(2, readings={"thermal": {"unknown": "this machine has no sensor of heat"}})
    watched = watch()
    watched.see("Full speed")
    assert watched.page.locator("svg.work polyline").count() == 1

    site.stand(2, rung="works 70% of the time", duty=0.7, left_alone_s={"memory": 3000.0}, **SLOW)
    watched.see(
        "Slow since epoch 3 by factor 1.42 (93% sure), cause heat: the level is heavy. Memory: no steps for another"
    )

    assert "works 70% of the time" in watched.page.locator(".headline").inner_text()
    assert watched.page.locator(".governor p").bounding_box()["height"] < 60, "two lines"
    watched.page.get_by_role("link", name="Readings, steps and evidence").click()
    watched.see("the level is heavy")
    assert watched.complaints == []


def test_what_people_wrote_is_shown_as_text_and_never_run_and_nothing_comes_from_elsewhere(watch, site):
    words = '<script>window.hacked = 1</script><img src=x onerror="window.hacked = 1">'
    watched = watch()

    with site.ledger() as ledger:
        place_hold(ledger, HoldReason.USER, HoldMode.PAUSE, words)
    watched.see("<script>window.hacked = 1</script>")

    assert watched.page.evaluate("window.hacked") is None
    assert watched.page.locator("main img").count() == 0
    assert {url for url in watched.asked if not url.startswith(site.url)} == set(), "nothing is loaded from elsewhere"
    assert {f"{site.url}/static/live.js", f"{site.url}/static/status.css"} <= watched.asked
    assert watched.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_alarmed_it_takes_two_screens_or_four_of_a_phone_and_keeps_its_contrast(watch, site, scheme):
    """Jobs failed for several reasons, one is held, the slot is, and the governor acts."""
    site.finish("now", scores(0.1))
    site.enqueue(*({"name": f"broken-{number}"} for number in range(5)), {"name": "waits", "needs": ["broken-0"]})
    site.finish(site.start_next(), scores(0.2))
    for number in range(5):
        site.fail(site.start_next(), f"fault {number % 4}: " + "a-word-without-a-break-" * 12)
    site.enqueue({"name": "slow"}, *({"name": f"later-{number}"} for number in range(30)))
    job = site.start_next()
    site.report(job, [0.9, 0.7, 0.6, 0.65, 0.5, 0.6])
    with site.ledger() as ledger:
        number = queries.find_job(ledger, job).id
        hold_jobs(ledger, ["later-7"])
        place_hold(ledger, HoldReason.USER, HoldMode.DRAIN, "a-word-without-a-break-" * 8, for_s=3600)
    site.stand(
        number, rung="works 70% of the time", duty=0.7, **{**SLOW, "evidence": ["a-word-without-a-break-" * 8] * 3}
    )
    page = watch(viewport={"width": 1440, "height": 900}, color_scheme=scheme).page
    page.locator(".alarm.hold").wait_for()
    page.locator(".alarm.held").wait_for()

    assert page.locator("#more-failed").get_attribute("open") is None
    assert page.evaluate("document.documentElement.scrollHeight") <= 2 * 900
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollHeight") <= 4 * 740
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.locator("#more-failed > summary").click()
    assert "fault 2" in page.locator("#more-failed").inner_text()
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    light = sum(map(int, re.findall(r"\d+", ground)[:3])) / 3
    assert (light > 200) if scheme == "light" else (light < 60)
    contrasts = page.evaluate(CONTRASTS)
    assert len(contrasts) > 40
    assert [seen for seen in contrasts if seen[1] < 4.5] == []


@pytest.mark.parametrize("options", [{}, {"color_scheme": "dark"}, {"viewport": PHONE}], ids=["light", "dark", "phone"])
def test_axe_finds_nothing_and_a_failure_turns_title_icon_and_strip_red(watch, site, options):
    from axe_playwright_python.sync_playwright import Axe

    page = watch(**options).page
    assert page.locator("link[rel=icon]").get_attribute("href") == "/static/icon.svg"
    assert page.get_by_role("region", name="Alarms").count() == 0
    site.fail("now", "column 'cot_net' is empty on 26 days <b>")
    strip = page.locator(".alarm.bad")
    strip.wait_for()
    page.wait_for_function("document.title.startsWith('(!)')")

    assert "now failed, 1 waits for it" in strip.inner_text()
    assert "column 'cot_net' is empty on 26 days <b>" in strip.inner_text()
    assert page.locator("link[rel=icon]").get_attribute("href") == "/static/icon-alarm.svg"
    assert page.locator(".gauge.unknown").count() == 2, "heat and memory were not reported, and are not green"
    page.locator(".menu summary").click()
    found = Axe().run(page).response["violations"]
    assert [f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in found if one["impact"] in WORSE] == []
    for width in (360, 768, 1024, 1440):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_hidden_tab_asks_once_a_minute(watch):
    """A page that is left open for a week costs next to nothing while it is hidden, and its title stays true."""
    watched = watch()
    page = watched.page
    page.evaluate(HIDE)
    page.wait_for_load_state("networkidle")
    count = page.evaluate("performance.getEntriesByType('resource').length")
    page.wait_for_timeout(5_000)

    assert page.evaluate("performance.getEntriesByType('resource').length") == count
    assert page.evaluate("(dueAt - performance.now()) / 1000") == pytest.approx(50, abs=10)
    page.evaluate("hidden = false; document.dispatchEvent(new Event('visibilitychange'))")
    until(lambda: page.evaluate("performance.getEntriesByType('resource').length") > count, "it asks again")


def test_it_works_without_javascript_and_with_it_shows_times_in_the_readers_zone(watch):
    page = watch(java_script_enabled=False).page
    assert page.locator(".headline").inner_text() == "now is training."
    assert page.locator("noscript meta[http-equiv=refresh]").count() == 1
    assert "UTC" in page.locator("header time").inner_text()

    time = watch(timezone_id="Asia/Tokyo").page.locator("header time")
    hour = int(re.search(r"T(\d\d):", time.get_attribute("datetime"))[1])
    assert int(re.search(r"(\d\d):\d\d:\d\d", time.inner_text())[1]) == (hour + 9) % 24


HIDE = """() => {
    window.hidden = true;
    Object.defineProperty(document, "hidden", { get: () => window.hidden });
    document.dispatchEvent(new Event("visibilitychange"));
}"""

CONTRASTS = """() => {
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const rgb = (colour, under) => {
        canvas.fillStyle = `rgb(${under.join(",")})`; canvas.fillRect(0, 0, 1, 1);
        canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
    };
    const light = (c) => c.map((v) => v / 255).map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const ground = (element) => (element ? rgb(getComputedStyle(element).backgroundColor, ground(element.parentElement)) : [255, 255, 255]);
    const seen = [];
    for (const element of document.querySelectorAll("#live *")) {
        const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.nodeValue.trim());
        if (!own || element.closest("svg, noscript, .unseen") || !element.checkVisibility()) continue;
        const under = ground(element);
        const [a, b] = [light(rgb(getComputedStyle(element).color, under)), light(under)].sort((x, y) => y - x);
        seen.push([`${element.className || element.tagName}: ${element.textContent.trim().slice(0, 40)}`, (a + 0.05) / (b + 0.05)]);
    }
    return seen;
}"""
"""The contrast of every text with its background, by WCAG 2; small text needs 4.5."""
