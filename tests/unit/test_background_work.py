"""What macOS does with the training's files: looked at in its commands' own words, and changed only after asking."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from cbi_queue import doctor
from cbi_queue.background_work import MARKER, _icloud, look
from cbi_queue.cli.verbs import doctor as verb
from cbi_queue.findings import Finding
from cbi_queue.programs import NO_PROGRAM, Answer
from cbi_queue.settings import load_settings

INCLUDED, EXCLUDED = "[Included]    {}\n", "[Excluded]    {}\n"
INDEXED = "{}:\n\tIndexing enabled. \n"
QUIET = "  0.0 /sbin/launchd\n  1.3 /usr/sbin/mds\n"


@pytest.fixture
def settings(tmp_path, monkeypatch):
    volume = tmp_path / "Satechi Hub"
    (volume / "CBI-V14").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("EXTERNAL_DRIVE", str(volume))
    monkeypatch.setenv("CBI_V14_REPO", str(volume / "CBI-V14"))
    return load_settings()


def seen(settings, **answers: str) -> dict[str, Finding]:
    def ask(argv: tuple[str, ...]) -> Answer:
        text = answers.get(" ".join(argv[:2]).replace(" ", "_").replace("-", ""))
        return Answer(argv, NO_PROGRAM, f"{argv[0]}: no such program") if text is None else Answer(argv, 0, text)

    return {each.subject: each for each in look(settings, ask)}


def test_what_costs_is_named_with_what_to_type(settings) -> None:
    found = seen(
        settings,
        mdutil_s=INDEXED.format(settings.volume),
        tmutil_isexcluded=INCLUDED.format(settings.repo),
        tmutil_destinationinfo="Name : Backups\n",
        ps_A=" 87.5 /System/Library/PrivateFrameworks/MediaAnalysis.framework/mediaanalysisd\n 22,5 /usr/sbin/mds_stores\n",
    )
    assert found["Spotlight"].command == ("touch", str(settings.volume / MARKER))
    assert found["Time Machine"].command == ("tmutil", "addexclusion", str(settings.repo))
    assert found["background work"].seen == "Photos takes 0.9 cores, Spotlight takes 0.2 cores"
    assert [each.verdict for each in found.values()] == ["note", "note", "ok", "note"]


def test_a_quiet_mac_needs_nothing(settings) -> None:
    found = seen(
        settings,
        mdutil_s=f"{settings.volume}:\n\tIndexing disabled.\n",
        tmutil_isexcluded=EXCLUDED.format(settings.repo),
        tmutil_destinationinfo="Name : Backups\n",
        ps_A=QUIET,
    )
    assert [each.verdict for each in found.values()] == ["ok"] * 4


def test_what_cannot_be_asked_is_unknown_and_not_quiet(settings) -> None:
    found = seen(settings)
    assert [each.verdict for each in found.values()] == ["note", "note", "ok", "note"]
    assert found["Spotlight"].seen == "unknown: `mdutil -s` says: mdutil: no such program"


@pytest.mark.parametrize(
    ("where", "costs"),
    [("Documents/cbi", True), ("Library/Mobile Documents/cbi", True), ("cbi", False), ("Desktop/cbi.nosync", False)],
)
def test_a_folder_that_icloud_may_sync_is_told(tmp_path, where, costs) -> None:
    repo = tmp_path / where
    repo.mkdir(parents=True)
    assert (_icloud(repo, tmp_path).verdict == "note") is costs


def test_fix_runs_what_it_showed_only_after_yes(settings, tmp_path, monkeypatch) -> None:
    """The whole verb, with stand-ins for the two commands on the path and a real `touch`."""
    stand_ins = tmp_path / "bin"
    stand_ins.mkdir()
    for name, text in (("mdutil", INDEXED), ("tmutil", INCLUDED)):
        (stand_ins / name).write_text(f"#!/bin/sh\necho \"$@\" >> '{tmp_path}/asked'\nprintf '{text.format('x')}'\n")
        (stand_ins / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{stand_ins}:/usr/bin:/bin")
    monkeypatch.setattr(doctor, "examine", lambda settings: list(doctor._background(settings, "darwin")))
    marker = settings.volume / MARKER

    refused = CliRunner().invoke(verb.command, ["--fix"], input="n\nn\n")
    assert refused.exit_code == 0
    assert f"run `touch '{marker}'`?" in refused.output
    assert not marker.exists()
    agreed = CliRunner().invoke(verb.command, ["--fix"], input="y\ny\n")
    assert agreed.exit_code == 0, agreed.output
    assert marker.exists()
    assert f"addexclusion {settings.repo}" in (tmp_path / "asked").read_text()


def test_a_fix_that_fails_is_told_and_the_verb_fails(settings, monkeypatch) -> None:
    broken = Finding("Spotlight", "note", "indexes", None, ("touch", "/nowhere/at/all"))
    monkeypatch.setattr(doctor, "examine", lambda _settings: [broken])
    done = CliRunner().invoke(verb.command, ["--fix", "--yes"])
    assert done.exit_code == 1
    assert "failed: touch /nowhere/at/all" in done.output


def test_the_checks_run_on_a_mac_only(settings) -> None:
    assert list(doctor._background(settings, "linux")) == []
