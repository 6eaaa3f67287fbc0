"""The board page, with scripts and without: two runs are compared with a form; what they show is in `test_journey`."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from support.api_installation import ApiInstallation, scores

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.browser

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SOON_MS = 60_000
SIDEWAYS = "[...document.querySelectorAll('.scroll')].some(e => e.checkVisibility() && e.scrollWidth > e.clientWidth)"
LONG = "a-name-without-a-break-" * 4


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_two_runs_are_compared_with_a_form(tmp_path: Path):
    from playwright.sync_api import sync_playwright

    site = ApiInstallation(tmp_path)
    (site.settings.exports_dir / "production_training_data.parquet").write_bytes(b"no export")
    site.enqueue({"name": "first"}, {"name": LONG[:80]}, {"name": "needs-data", "dataset": "gone"})
    for skill in (0.1, 0.2):
        site.finish(site.start_next(), scores(skill, se=0.02, p=0.4))
    with site.server(), sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"], timeout=90_000
        )
        for script, scheme, width in ((False, "light", 1024), (True, "dark", 360)):
            page = chromium.new_page(
                viewport={"width": width, "height": 800}, color_scheme=scheme, java_script_enabled=script
            )
            page.set_default_timeout(SOON_MS)
            page.goto(f"{site.url}/status")
            page.get_by_role("link", name="Board", exact=True).click()
            assert page.locator(".pages [aria-current=page]").inner_text() == "Board"
            page.get_by_role("link", name="Skill", exact=True).click()
            page.wait_for_load_state()  # with its style sheets
            assert page.evaluate(SIDEWAYS) == (width == 1024), (
                "a phone shows what fits, until all columns are asked for"
            )
            for box in page.get_by_role("checkbox").all():
                box.check()
            page.get_by_role("button", name="Compare the two").click()
            page.get_by_text("Not known: ").wait_for()
            page.wait_for_load_state()  # with its style sheets
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert not page.evaluate(SIDEWAYS)
            assert "differs" not in page.locator(".beside").first.inner_text(), "scores are not parameters"
            page.close()
        chromium.close()
