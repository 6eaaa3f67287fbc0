"""Adding a plan in a real browser, on a phone: a broken one shows its complaint at its line, a good one is enqueued."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from support.api_installation import ApiInstallation

from cbi_queue import clock
from cbi_queue.telemetry.telemetry import Telemetry

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.browser

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
JOB = "{name: hello, family: script, command: [echo, hi], workdir: /tmp}"


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_broken_plan_shows_its_line_and_the_mended_one_is_enqueued(tmp_path: Path):
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import sync_playwright

    site = ApiInstallation(tmp_path)
    with site.server(), sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"], timeout=90_000
        )
        token = site.settings.token_path.read_text().strip()
        page = chromium.new_page(
            viewport={"width": 360, "height": 800}, extra_http_headers={"Authorization": f"Bearer {token}"}
        )
        page.set_default_timeout(60_000)
        page.goto(f"{site.url}/status")
        page.get_by_role("link", name="Add plan").click()
        text = page.get_by_label("The plan, in YAML")
        text.press_sequentially(f"day: 0\njobs:\n  - {JOB.replace('script', 'scrpt')}\n")
        page.locator("#found", has_text="did you mean 'script'").wait_for()  # while it is written, without a button
        assert "complaint" in page.get_by_role("status").inner_text()
        page.get_by_role("link", name="line 3").first.focus()
        page.keyboard.press("Enter")
        seen = "f => [document.activeElement === f, f.value.slice(f.selectionStart, f.selectionEnd)]"
        assert text.evaluate(seen) == [True, f"  - {JOB.replace('script', 'scrpt')}"], "the keyboard leads to its line"
        violations = Axe().run(page).response["violations"]
        assert [one["id"] for one in violations if one["impact"] in {"serious", "critical"}] == []
        text.fill(text.input_value().replace("scrpt", "script"))
        page.get_by_role("status").get_by_text("No complaint: 1 job").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        text.fill(text.input_value().replace("script", "scrpt"))
        page.get_by_role("button", name="Check").click()
        page.get_by_role("link", name="line 3").first.click()
        assert "did you mean 'script'" in page.locator("#line-3.faulty").inner_text()
        page.wait_for_load_state()  # with its style sheets
        assert page.evaluate("document.documentElement.scrollWidth") <= 360

        text.fill(text.input_value().replace("scrpt", "script"))
        page.get_by_role("button", name="Enqueue").click()
        page.get_by_role("heading", name="Enqueued: 1 new").wait_for()
        page.get_by_role("link", name="hello").click()
        page.get_by_role("heading", name="State").wait_for()
        page.wait_for_load_state()
        telemetry = Telemetry(site.settings.telemetry_path)
        step = (
            "INSERT INTO decisions VALUES (NULL, ?, 1, 1, 3, 'pace', 'heat', ?, 0.8, 0, 0, 1, '{\"temp_c\": 104}', 0)"
        )
        telemetry.write(step, (clock.epoch_s() - 60, "paced to 80 %: the heat is above hot_c"))
        telemetry.close()
        page.goto(f"{site.url}/governor")
        page.get_by_text("Thresholds in force").click()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        hidden = "[...document.querySelectorAll('.scroll')].filter(e => e.querySelector('table') && e.scrollWidth > e.clientWidth)"
        assert (page.locator(".stacked:visible").count(), page.evaluate(f"{hidden}.length")) == (3, 0)
        chromium.close()
