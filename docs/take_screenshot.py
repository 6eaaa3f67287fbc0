# ruff: noqa: INP001 - a script by itself, no package
"""Take the picture of the status page for the README: `python docs/take_screenshot.py`. Run by hand.

Needs Chromium and Playwright (`pip install playwright`), and a page that is served: `cbi-queue serve` in another
terminal, best with a worker that trains. Nothing is started or changed here.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
MAC_CHROMIUMS = (
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
PICTURE = Path(__file__).with_name("images") / "status-page.png"


def find_chromium() -> str | None:
    """Return the path of a Chromium or Chrome on this machine, if there is one."""
    named = next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    return named or next((path for path in MAC_CHROMIUMS if Path(path).exists()), None)


def take(url: str, picture: Path, *, dark: bool, width: int, height: int | None) -> None:
    """Open *url* and write what it shows.

    Args:
        url: of the status page.
        picture: the PNG to write.
        dark: whether the reader prefers dark.
        width: of the window, in CSS pixels.
        height: of the picture, in CSS pixels; None: the whole page.
    """
    picture.parent.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=ARGUMENTS)
        page = browser.new_page(
            viewport={"width": width, "height": height or 800}, color_scheme="dark" if dark else "light"
        )
        page.goto(url)
        page.wait_for_selector("main")
        page.screenshot(path=picture, full_page=height is None)
        browser.close()


def main() -> None:
    """Read the options and take the picture."""
    parser = argparse.ArgumentParser(description="Take a picture of the status page that is served now.")
    parser.add_argument("--url", default="http://127.0.0.1:8000/status", help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=PICTURE, help="PNG to write; default: docs/images/status-page.png")
    parser.add_argument("--dark", action="store_true", help="as a reader who prefers dark sees it")
    parser.add_argument("--width", type=int, default=1200, help="CSS pixels; 390 is a phone; default: %(default)s")
    parser.add_argument("--height", type=int, help="CSS pixels; default: the whole page")
    options = parser.parse_args()
    if find_chromium() is None:
        sys.exit(f"no Chromium found; install one of: {', '.join(CHROMIUM_NAMES)}")
    take(options.url, options.out, dark=options.dark, width=options.width, height=options.height)
    print(f"{options.out} ({options.out.stat().st_size // 1024} kB)")


if __name__ == "__main__":
    main()
