"""The board page, the page of two runs and the data page in a real browser: they fit, they pass axe, a form compares."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from support.api_installation import ApiInstallation, scores

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.browser

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SOON_MS = 30_000
WIDTHS = (360, 768, 1024, 1440)
WORSE = {"serious", "critical"}
LONG = "a-name-without-a-break-" * 4


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_the_pages_fit_and_two_runs_are_compared_with_a_form(tmp_path: Path):
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import sync_playwright

    site = ApiInstallation(tmp_path)
    (site.settings.exports_dir / "production_training_data.parquet").write_bytes(b"no export")
    site.enqueue({"name": "first"}, {"name": LONG[:80]}, {"name": "needs-data", "dataset": "gone"})
    for skill in (0.1, 0.2):
        site.finish(site.start_next(), scores(skill, se=0.02, p=0.4))
    with site.server(), sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        for script, scheme, width in ((False, "light", 1024), (True, "dark", 360)):
            page = chromium.new_page(
                viewport={"width": width, "height": 800}, color_scheme=scheme, java_script_enabled=script
            )
            page.set_default_timeout(SOON_MS)
            page.goto(f"{site.url}/status")
            page.get_by_role("link", name="Board", exact=True).click()
            page.get_by_role("link", name="Skill", exact=True).click()
            for box in page.get_by_role("checkbox").all():
                box.check()
            page.get_by_role("button", name="Compare the two").click()
            page.get_by_text("Not known: ").wait_for()
            assert "differs" not in page.locator(".beside").first.inner_text(), "scores are not parameters"
            page.close()
        page = chromium.new_page(viewport={"width": 1024, "height": 800})
        page.set_default_timeout(SOON_MS)
        complaints: list[str] = []
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        for path in ("/board", "/board/compare?run=1&run=2", "/data"):
            page.goto(f"{site.url}{path}")
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                for width in WIDTHS:
                    page.set_viewport_size({"width": width, "height": 800})
                    assert page.evaluate("document.documentElement.scrollWidth") <= width, (path, width)
                    if width in {WIDTHS[0], WIDTHS[-1]}:
                        found = Axe().run(page).response["violations"]
                        bad = [
                            f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in found if one["impact"] in WORSE
                        ]
                        assert bad == [], (path, scheme, width)
        assert complaints == []
        chromium.close()
