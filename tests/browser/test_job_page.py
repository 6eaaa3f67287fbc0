"""The page of a job in a real browser: its log and progress follow, its plots zoom, and it fits a phone."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from support.api_installation import ApiInstallation

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.browser

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SOON_MS = 15_000
WORSE = {"serious", "critical"}
"""Impacts of axe-core's findings that fail a test."""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_the_page_follows_its_job_and_its_log_on_a_phone_and_its_plots_zoom(tmp_path: Path):
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import sync_playwright

    site = ApiInstallation(tmp_path)
    site.enqueue({"name": "now"})
    site.start_next(log="begun\n")
    site.report("now", [0.9, 0.7])
    with site.daemon(), site.server(), sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = chromium.new_page(viewport={"width": 360, "height": 800})
        page.set_default_timeout(SOON_MS)
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda said: "Content Security Policy" in said.text and faults.append(said.text))
        page.goto(f"{site.url}/jobs/now")

        assert page.get_by_role("button", name="Cancel").is_disabled()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        page.wait_for_function("document.querySelector('img.plot').naturalWidth > 0")
        with (site.settings.training_log_dir / "now-attempt-1.log").open("a") as log:
            log.write("<img src=x onerror='window.hacked = 1'>\n")
        page.get_by_text("<img src=x").wait_for()
        site.report("now", [0.9, 0.7, 0.6])
        page.get_by_text("epoch 3/20").first.wait_for()
        assert page.locator("#log-text").inner_text().startswith("begun")
        page.get_by_role("button", name="Show plots that zoom").click()
        page.locator(".zoomed polyline").first.wait_for(state="attached")
        told = page.locator(".told").inner_text()
        page.get_by_role("button", name="Zoom in").click()
        assert page.locator(".told").inner_text() != told, "another stretch is shown"
        page.locator(".zoomed").hover()
        assert "Validation loss 0." in page.locator(".told").inner_text()
        assert page.locator("#zoom-fault").inner_text() == ""
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            found = Axe().run(page).response["violations"]
            assert [f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in found if one["impact"] in WORSE] == []
        assert page.evaluate("window.hacked") is None
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert faults == []
        chromium.close()
