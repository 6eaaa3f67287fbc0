"""Take the pictures of the status page for README.md and `docs/status-page.md` in the middle of a mini week.

`python docs/make_pictures.py --folder DIR` runs the week of `make week` with one net that trains longer, waits until that
net has a curve, and photographs the page: light, dark, on a phone. About six minutes of a quiet machine. DIR keeps the
queue: another run goes on with it, so that pictures can be taken again in a minute. Needs Chromium.
"""

# ruff: noqa: INP001 - a script, not a package

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
MAC_CHROMIUMS = (
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
NET = "quantile_net-1m"
LONGER = """\
    timeout: 12h
    params: {hidden: [512, 256], sequence_length: 32, epochs: 600, patience: 600, learning_rate: 0.00005}
"""
"""What the net has beside its four lines in the plan: it trains for minutes."""
EPOCHS = 60
"""Reported epochs from which its curve is worth a picture."""
PATIENCE_S = 3600.0
PICTURES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("status-page.png", {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"}),
    ("status-page-dark.png", {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"}),
    ("status-page-phone.png", {"viewport": {"width": 390, "height": 844}, "color_scheme": "light"}),
)
SCREENS = 2
"""How many screens of each are shown."""


def longer_week(folder: Path) -> Path:
    """Copy the plans of the mini week into *folder*, with the net made longer; return where they are."""
    plans = folder / "plans"
    if not plans.exists():
        shutil.copytree(ROOT / "schedules" / "mini-week", plans)
        day = plans / "day5.yaml"
        before, name, after = day.read_text().partition(f"  - name: {NET}\n")
        if not name:
            sys.exit(f"{day} has no job {NET}: name another net in docs/make_pictures.py")
        lines = after.splitlines(keepends=True)
        day.write_text(before + name + "".join(lines[:4]) + LONGER + "".join(lines[4:]))
    return plans


@contextmanager
def running(arguments: list[str], env: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a verb of cbi-queue until the end of the block; Ctrl-C ends it, with a checkpoint."""
    with log.open("ab") as written:
        process = subprocess.Popen(
            [sys.executable, "-m", "cbi_queue.cli", *arguments], env=env, cwd=ROOT, stdout=written, stderr=written
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(120)


def ask(url: str, token: Path) -> dict[str, Any] | None:
    """Return the status as JSON; None while the server does not answer."""
    try:
        request = urllib.request.Request(f"{url}/api/v1/status", headers=right(token))  # noqa: S310 - our own server
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - our own server
            found: dict[str, Any] = json.load(answer)
            return found
    except (OSError, urllib.error.URLError):
        return None


def right(token: Path) -> dict[str, str]:
    """Return the header that lets a program read and change."""
    return {"Authorization": f"Bearer {token.read_text().strip()}"}


def wait_for_curve(url: str, token: Path, week: subprocess.Popen[bytes]) -> None:
    """Return once the net trains and has reported `EPOCHS` epochs."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        slot = (ask(url, token) or {}).get("slot") or {}
        if (slot.get("job") or {}).get("name") == NET and ((slot.get("progress") or {}).get("epoch") or 0) >= EPOCHS:
            return
        if week.poll() is not None:
            sys.exit(f"the week ended before {NET} had {EPOCHS} epochs: look into week.log, or take another folder")
        time.sleep(2)
    sys.exit(f"{NET} had not {EPOCHS} epochs within {PATIENCE_S:.0f} s: look into week.log")


def take(url: str, token: Path) -> None:
    """Write every picture."""
    named = next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    chromium = named or next((path for path in MAC_CHROMIUMS if Path(path).exists()), None)
    if chromium is None:
        sys.exit(f"no Chromium found; install one of: {', '.join(CHROMIUM_NAMES)}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        for name, options in PICTURES:
            page = browser.new_page(**options, extra_http_headers=right(token))
            page.goto(f"{url}/status")
            page.locator("#board table").first.wait_for(timeout=120_000)  # boards are read after the first answer
            page.wait_for_load_state()
            size = options["viewport"]
            height = min(page.evaluate("document.documentElement.scrollHeight"), SCREENS * size["height"])
            page.screenshot(
                path=IMAGES / name, full_page=True, clip={"x": 0, "y": 0, "width": size["width"], "height": height}
            )
            print(f"{IMAGES / name} ({(IMAGES / name).stat().st_size // 1024} kB)")
            page.close()
        browser.close()


def main() -> None:
    """Read the options, run the week as far as needed, and take the pictures."""
    parser = argparse.ArgumentParser(description="Take the pictures of the status page in the middle of a mini week.")
    parser.add_argument("--folder", type=Path, required=True, help="keeps the queue, the data and the logs")
    folder = parser.parse_args().folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.toml").touch()
    state = folder / "state"
    env = {
        **os.environ, "CBI_STATE_DIR": str(state), "CBI_V14_REPO": str(folder / "CBI-V14"),
        "CBI_CONFIG": str(folder / "config.toml"), "EXTERNAL_DRIVE": "",
    }  # fmt: skip
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    plans = longer_week(folder)
    if not (folder / "CBI-V14").exists():
        subprocess.run([sys.executable, "-m", "cbi_queue.cli", "data", "sample"], env=env, cwd=ROOT, check=True)
    with (
        running(["run", str(plans)], env, folder / "week.log") as week,
        running(["serve", "--port", str(port)], env, folder / "serve.log"),
    ):
        url, token = f"http://127.0.0.1:{port}", state / "api-token"
        wait_for_curve(url, token, week)
        take(url, token)


if __name__ == "__main__":
    main()
