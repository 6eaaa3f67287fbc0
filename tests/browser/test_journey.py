"""One journey through the pages while a real queue trains: two tabs, a lost server, a failure, plans, a cancelled job."""

from __future__ import annotations

import json
import shutil
import signal
from typing import TYPE_CHECKING

import pytest
from support.api_installation import ApiInstallation
from support.installation import NET
from support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser, Page
    from support.installation import Installation

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]  # one long journey

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SOON_MS = 60_000
WORSE = {"serious", "critical"}
"""Impacts of axe-core's findings that fail a test."""
SHORT = {name: {**NET["params"], "epochs": epochs} for name, epochs in (("short", 5), ("other", 6))}
BROKEN = "day: 0\njobs:\n  - {name: doomed, family: scrpt, command: ['false'], workdir: /tmp}\n"
LINE = "document.querySelector('svg.loss polyline:last-of-type')?.getAttribute('points')"
"""The line of the losses on the status page."""


class Journey:
    """Tabs of one browser that may change the queue; each step is looked at by axe and kept as a picture."""

    def __init__(self, chromium: Browser, site: ApiInstallation, pictures: Path) -> None:
        self._site, self._pictures, self._step = site, pictures, 0
        token = site.settings.token_path.read_text().strip()
        self.context = chromium.new_context(extra_http_headers={"Authorization": f"Bearer {token}"})
        self.context.set_default_timeout(SOON_MS)
        self.faults: list[str] = []
        pictures.mkdir()

    def open(self, path: str, **size: int) -> Page:
        """Open a tab, of the size given."""
        page = self.context.new_page()
        if size:
            page.set_viewport_size(size)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", lambda said: "Content Security" in said.text and self.faults.append(said.text))
        page.goto(f"{self._site.url}{path}")
        return page

    def look(self, page: Page, scheme: str = "light") -> None:
        """Keep a picture of *page*, and check it."""
        from axe_playwright_python.sync_playwright import Axe

        self._step += 1
        page.wait_for_load_state()
        page.emulate_media(color_scheme=scheme)
        page.screenshot(path=self._pictures / f"{self._step:02}-{scheme}.png", full_page=True)
        found = Axe().run(page).response["violations"]
        worse = [f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in found if one["impact"] in WORSE]
        assert worse == [], (self._step, page.url)
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, page.url


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_week_is_watched_steered_and_lost_sight_of_while_it_trains(installation: Installation, tmp_path: Path):
    from playwright.sync_api import sync_playwright

    installation.enqueue(installation.lasting("net"))
    site = ApiInstallation.over(installation)
    installation.start_daemon()
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"], timeout=90_000
        )
        with site.server() as server:
            journey = Journey(chromium, site, tmp_path / "pictures")
            job = journey.open("/jobs/net", width=360, height=740)
            status = journey.open("/status")

            # the page follows the training
            line = until(lambda: status.evaluate(LINE), "the line of losses is drawn")
            until(lambda: status.evaluate(LINE) != line, "it grows")
            until(lambda: job.evaluate("document.querySelector('img.plot').naturalWidth > 0"), "the plot is there")
            with installation.log_of("net").open("a") as log:
                log.write("<img src=x onerror='window.hacked = 1'>\n")
            job.locator("#log-text").get_by_text("<img src=x").wait_for()
            assert job.evaluate("window.hacked") is None
            until(lambda: '"stored"' in curves(job, site), "a checkpoint is drawn")
            job.get_by_role("button", name="Show plots that zoom").click()
            job.locator(".zoomed .stored").first.wait_for(state="attached")
            told = job.locator(".told").inner_text()
            job.get_by_role("button", name="Zoom in").click()
            assert job.locator(".told").inner_text() != told, "another stretch is shown"
            job.locator(".zoomed").hover()
            assert "Validation loss " in job.locator(".told").inner_text()
            journey.look(job)

            # paused in one tab, seen in the other
            status.locator(".menu summary").click()
            status.get_by_label("Why").fill("too hot in here")
            status.get_by_role("button", name="Pause the slot").click()
            job.locator(".facts .state", has_text="paused").wait_for()
            status.get_by_text("too hot in here").first.wait_for()
            journey.look(status, "dark")
            status.get_by_role("button", name="Resume", exact=True).click()
            job.locator(".facts .state", has_text="running").wait_for()
            status.locator(".headline", has_text="net is training").wait_for()

            # plans are uploaded as files: a broken one says where, the mended one is enqueued
            plan = journey.open("/plan", width=360, height=740)
            upload(plan, tmp_path / "plan.yaml", BROKEN, "Check")
            assert "did you mean 'script'" in plan.locator("#line-3.faulty").inner_text()
            journey.look(plan)
            upload(plan, tmp_path / "plan.yaml", BROKEN.replace("scrpt", "script"), "Enqueue")
            plan.get_by_role("heading", name="Enqueued: 1 new").wait_for()
            plan.get_by_role("link", name="doomed").click()

            # the server is killed, and comes back while the training went on
            server.send_signal(signal.SIGKILL)
            server.wait()
            for page in (job, status):
                page.get_by_text("Server not reachable since").wait_for()
            line = status.evaluate(LINE)
            journey.look(status)
        with site.server():
            for page in (job, status):
                page.locator("#lost").wait_for(state="hidden")
            until(lambda: status.evaluate(LINE) != line, "the training went on")

            # cancelled on its page; the next job fails and turns the strip red; a retry is one button
            job.get_by_role("button", name="Cancel").click()
            job.locator(".facts .state", has_text="cancelled").wait_for()
            strip = status.locator(".alarm.bad", has_text="doomed failed")
            strip.wait_for()
            until(lambda: status.title().startswith("(!)"), "the title says so too")
            journey.look(status)
            installation.enqueue(
                *({**NET, "name": name, "priority": 9, "params": params} for name, params in SHORT.items())
            )
            short = journey.open("/jobs/short")
            short.get_by_role("heading", name="Result").wait_for()
            assert "skill" in short.get_by_role("region", name="Scores").inner_text()
            journey.look(short, "dark")
            strip.get_by_role("button", name="Retry").click()
            status.locator("#said", has_text="doomed is queued.").wait_for()

            # board, comparison and data with what the runs really left
            installation.until_state("other", "succeeded")
            made_forecast(installation)
            runs = "&".join(f"run={installation.job(name).id}" for name in ("short", "other"))
            board = journey.open("/board")
            assert board.get_by_role("checkbox").count() == 2
            compared = journey.open(f"/board/compare?{runs}")
            until(lambda: compared.reload() and compared.locator("img.equity").count(), "the equity curves", 90.0)
            assert compared.evaluate("document.querySelector('img.equity').naturalWidth") > 0
            data = journey.open("/data")
            until(lambda: data.reload() and data.locator("svg.cover").count(), "the coverage of the columns", 90.0)
            data.get_by_text("the features that moved most").click()
            assert "quarantine" in data.get_by_role("group", name="Drift of 1w, default").inner_text()
            for page in (board, compared, data):
                for scheme, width in (("light", 1440), ("light", 1024), ("dark", 768), ("dark", 360)):
                    page.set_viewport_size({"width": width, "height": 740})
                    journey.look(page, scheme)
            files = journey.open("/jobs/short").get_by_role("region", name="Files")
            with files.page.expect_download() as download:
                files.get_by_role("link", name="latest.json").click()
            assert json.loads(download.value.path().read_text())["day"] == "2018-12-31"
            assert journey.faults == []
            assert len(list((tmp_path / "pictures").iterdir())) == 18
        chromium.close()


def made_forecast(installation: Installation) -> None:
    """Write the newest forecast as a run of `cbi-queue forecast` does, with one feature that drifted."""
    job, folder = installation.job("short"), installation.settings.logs / "forecasts"
    feature = {"name": "vix", "psi": 0.61, "expected": 0.05, "quarantined": True}
    drift = {"uses_features": True, "compared_rows": 63, "reference_rows": 5000, "features": [feature]}
    told = {"horizon": "1w", "job": "short", "job_id": job.id, "date": "2018-12-31", "target_date": "2019-01-08"}
    prices = {"price": 45.15, "predicted_price": 45.2, "lower_95": 41.7, "upper_95": 48.9}
    body = {"day": "2018-12-31", "forecasts": [{**told, **prices}], "drift": {"1w": drift}, "monitor": {}}
    folder.mkdir(exist_ok=True)
    (folder / "latest.json").write_text(json.dumps(body))


def curves(page: Page, site: ApiInstallation) -> str:
    return page.request.get(f"{site.url}/api/v1/jobs/net/curves").text()


def upload(page: Page, path: Path, text: str, button: str) -> None:
    path.write_text(text)
    page.locator("input[type=file]").set_input_files(path)
    page.get_by_role("button", name=button).click()
