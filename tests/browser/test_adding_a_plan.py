"""Adding a plan in a real browser, on a phone: a broken one shows its complaint at its line, a good one is enqueued."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from support.api_installation import ApiInstallation

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.browser

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
JOB = "{name: hello, family: script, command: [echo, hi], workdir: /tmp}"


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_broken_plan_shows_its_line_and_the_mended_one_is_enqueued(tmp_path: Path):
    from playwright.sync_api import sync_playwright

    site = ApiInstallation(tmp_path)
    with site.server(), sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        token = site.settings.token_path.read_text().strip()
        page = chromium.new_page(
            viewport={"width": 360, "height": 800}, extra_http_headers={"Authorization": f"Bearer {token}"}
        )
        page.set_default_timeout(30_000)
        page.goto(f"{site.url}/status")
        page.get_by_role("link", name="Add plan").click()
        page.get_by_label("The plan, in YAML").fill(f"day: 0\njobs:\n  - {JOB.replace('script', 'scrpt')}\n")
        page.get_by_role("button", name="Check").click()
        page.get_by_role("link", name="line 3").first.click()
        assert "did you mean 'script'" in page.locator("#line-3.faulty").inner_text()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360

        text = page.get_by_label("The plan, in YAML")
        text.fill(text.input_value().replace("scrpt", "script"))
        page.get_by_role("button", name="Enqueue").click()
        page.get_by_role("heading", name="Enqueued: 1 new").wait_for()
        page.get_by_role("link", name="hello").click()
        page.get_by_role("heading", name="State").wait_for()
        page.goto(f"{site.url}/governor")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        chromium.close()
