"""What macOS does in the background with the folders of the training, and what that costs. Looks; changes nothing.

Spotlight indexes every file that a run writes, Time Machine copies checkpoints that live for minutes, iCloud uploads
them, and Photos analyses pictures on the same processor and GPU. What can safely be changed has a command: `doctor`
prints it, `doctor --fix` runs the same one after asking.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cbi_queue.findings import Finding, note, ok
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


def look(settings: Settings, ask: Callable[[tuple[str, ...]], Answer] = run) -> Iterator[Finding]:
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


def _spotlight(volume: Path, ask: Callable[[tuple[str, ...]], Answer]) -> Finding:
    marker = volume / MARKER
    if marker.exists():
        return ok("Spotlight", f"{marker} keeps it from {volume}")
    answer = ask(("mdutil", "-s", str(volume)))
    text = answer.text.lower()
    if answer.code != 0 or "indexing" not in text:
        return note("Spotlight", f"unknown: `mdutil -s` says: {answer.words}")
    if "disabled" in text:
        return ok("Spotlight", f"does not index {volume}")
    advice = f"it reads every file that a run writes, from the next mount on no more with: touch '{marker}'"
    return Finding("Spotlight", "note", f"indexes {volume}", advice, ("touch", str(marker)))


def _time_machine(repo: Path, ask: Callable[[tuple[str, ...]], Answer]) -> Finding:
    if ask(("tmutil", "destinationinfo")).text.strip().lower().find("no destinations") >= 0:
        return ok("Time Machine", "no destination is configured")
    answer = ask(("tmutil", "isexcluded", str(repo)))
    if "[Excluded]" in answer.text:
        return ok("Time Machine", f"leaves out {repo}")
    if "[Included]" not in answer.text:
        return note("Time Machine", f"unknown: `tmutil isexcluded` says: {answer.words}")
    advice = f"it copies every checkpoint; back up finished models yourself and exclude the rest: tmutil addexclusion '{repo}'"
    return Finding("Time Machine", "note", f"backs up {repo}", advice, ("tmutil", "addexclusion", str(repo)))


def _icloud(repo: Path, home: Path | None = None) -> Finding:
    home, real = home or Path.home(), repo.resolve()
    synced = (home / "Library/Mobile Documents", home / "Documents", home / "Desktop")
    inside = next((folder for folder in synced if real.is_relative_to(folder.resolve())), None)
    if inside is None or any(part.endswith(".nosync") for part in real.parts):
        return ok("iCloud Drive", f"does not sync {repo}")
    advice = "move it to a folder outside, for example ~/CBI-V14, and set CBI_V14_REPO to it"
    if inside != synced[0]:
        advice += "; harmless while System Settings, iCloud Drive, Desktop & Documents Folders is off"
    return note("iCloud Drive", f"may sync {repo}, which is in {inside}", advice)


def _now(ask: Callable[[tuple[str, ...]], Answer]) -> Finding:
    """Tell the cores that these programs take now; `ps` may see those of root on a Mac, which psutil may not."""
    answer = ask(("ps", "-A", "-o", "%cpu=,comm="))
    if answer.code != 0:
        return note("background work", f"unknown: `ps` says: {answer.words}")
    taken: dict[str, float] = {}
    for percent, _, path in (line.strip().partition(" ") for line in answer.text.splitlines()):
        if (owner := PROGRAMS.get(Path(path.strip()).name)) is not None:
            taken[owner] = taken.get(owner, 0.0) + float(percent.replace(",", ".")) / 100.0
    busy = {owner: cores for owner, cores in taken.items() if cores >= BUSY}
    if not busy:
        return ok("background work", "none of Spotlight, Time Machine, iCloud and Photos is busy")
    words = ", ".join(f"{owner} takes {cores:.1f} cores" for owner, cores in sorted(busy.items()))
    advice = "it ends by itself; until then trainings are slower: `cbi-queue pause --for 2h` waits for it"
    return note("background work", words, advice)
