"""What macOS does in the background with the folders of the training, and what that costs. Looks; changes nothing.

Spotlight indexes every file that a run writes, Time Machine copies checkpoints that live for minutes, iCloud uploads
them, and Photos analyses pictures on the same processor and GPU. What can safely be changed has a command: `doctor`
prints it, `doctor --fix` runs the same one after asking.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cbi_queue.programs import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cbi_queue.programs import Answer
    from cbi_queue.settings import Settings

MARKER = ".metadata_never_index"
"""A file at the root of a volume that keeps Spotlight from indexing the volume, from the next time it is mounted."""
BUSY = 0.2
"""Cores from which a background program is named."""
PROGRAMS = {
    "mds": "Spotlight", "mds_stores": "Spotlight", "mdworker": "Spotlight", "mdworker_shared": "Spotlight",
    "backupd": "Time Machine", "bird": "iCloud Drive", "cloudd": "iCloud", "photolibraryd": "Photos",
    "photoanalysisd": "Photos", "mediaanalysisd": "Photos",
}  # fmt: skip
"""Process name -> what it belongs to, in the user's words."""


@dataclass(frozen=True, slots=True)
class Background:
    """What one service of macOS does with the training's files, or takes from it."""

    subject: str
    seen: str
    costs: bool | None
    """None: could not be found out."""
    advice: str | None = None
    command: tuple[str, ...] = ()
    """What to type; safe to run without asking for a password. Empty: nothing that a program should do by itself."""


def look(settings: Settings, ask: Callable[[tuple[str, ...]], Answer] = run) -> Iterator[Background]:
    """Look at Spotlight, Time Machine, iCloud and what they take now.

    Args:
        settings: name the volume and the data folder.
        ask: runs a command; for tests.
    """
    if settings.volume is not None and settings.volume.is_dir():
        yield _spotlight(settings.volume, ask)
    if settings.repo.is_dir():
        yield _time_machine(settings.repo, ask)
        yield _icloud(settings.repo)
    yield _now(ask)


def _spotlight(volume: Path, ask: Callable[[tuple[str, ...]], Answer]) -> Background:
    marker = volume / MARKER
    if marker.exists():
        return Background("Spotlight", f"{marker} keeps it from {volume}", costs=False)
    answer = ask(("mdutil", "-s", str(volume)))
    text = answer.text.lower()
    if answer.code != 0 or "indexing" not in text:
        return Background("Spotlight", f"unknown: `mdutil -s` says: {answer.words}", costs=None)
    if "disabled" in text:
        return Background("Spotlight", f"does not index {volume}", costs=False)
    advice = f"it reads every file that a run writes, from the next mount on no more with: touch '{marker}'"
    return Background("Spotlight", f"indexes {volume}", True, advice, ("touch", str(marker)))


def _time_machine(repo: Path, ask: Callable[[tuple[str, ...]], Answer]) -> Background:
    if ask(("tmutil", "destinationinfo")).text.strip().lower().find("no destinations") >= 0:
        return Background("Time Machine", "no destination is configured", costs=False)
    answer = ask(("tmutil", "isexcluded", str(repo)))
    if "[Excluded]" in answer.text:
        return Background("Time Machine", f"leaves out {repo}", costs=False)
    if "[Included]" not in answer.text:
        return Background("Time Machine", f"unknown: `tmutil isexcluded` says: {answer.words}", costs=None)
    advice = f"it copies every checkpoint; back up finished models yourself and exclude the rest: tmutil addexclusion '{repo}'"
    return Background("Time Machine", f"backs up {repo}", True, advice, ("tmutil", "addexclusion", str(repo)))


def _icloud(repo: Path, home: Path | None = None) -> Background:
    home, real = home or Path.home(), repo.resolve()
    synced = (home / "Library/Mobile Documents", home / "Documents", home / "Desktop")
    inside = next((folder for folder in synced if real.is_relative_to(folder.resolve())), None)
    if inside is None or any(part.endswith(".nosync") for part in real.parts):
        return Background("iCloud Drive", f"does not sync {repo}", costs=False)
    advice = "move it to a folder outside, for example ~/CBI-V14, and set CBI_V14_REPO to it"
    if inside != synced[0]:
        advice += "; harmless while System Settings, iCloud Drive, Desktop & Documents Folders is off"
    return Background("iCloud Drive", f"may sync {repo}, which is in {inside}", True, advice)


def _now(ask: Callable[[tuple[str, ...]], Answer]) -> Background:
    """Tell the cores that these programs take now; `ps` may see those of root on a Mac, which psutil may not."""
    answer = ask(("ps", "-A", "-o", "%cpu=,comm="))
    if answer.code != 0:
        return Background("background work", f"unknown: `ps` says: {answer.words}", costs=None)
    taken: dict[str, float] = {}
    for percent, _, path in (line.strip().partition(" ") for line in answer.text.splitlines()):
        if (owner := PROGRAMS.get(Path(path.strip()).name)) is not None:
            taken[owner] = taken.get(owner, 0.0) + float(percent.replace(",", ".")) / 100.0
    busy = {owner: cores for owner, cores in taken.items() if cores >= BUSY}
    if not busy:
        return Background("background work", "none of Spotlight, Time Machine, iCloud and Photos is busy", costs=False)
    words = ", ".join(f"{owner} takes {cores:.1f} cores" for owner, cores in sorted(busy.items()))
    advice = "it ends by itself; until then trainings are slower: `cbi-queue pause --for 2h` waits for it"
    return Background("background work", words, True, advice)
