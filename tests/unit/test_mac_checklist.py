"""The checklist for a person with a Mac: ten checks, and a file without personal data."""

from __future__ import annotations

import getpass
import re
import socket

import pytest

from cbi_queue import mac_checklist
from cbi_queue.errors import CbiError, Refused
from cbi_queue.mac_checklist import BY_HAND, CHECKS, Check, Checked, run_checks, without_names, write
from cbi_queue.settings import load_settings


@pytest.fixture
def someone(monkeypatch) -> None:
    monkeypatch.setenv("HOME", "/Users/annabel")
    monkeypatch.setattr(getpass, "getuser", lambda: "annabel")
    monkeypatch.setattr(socket, "gethostname", lambda: "Annabels-Mini.local")


def test_names_of_people_machines_and_disks_are_taken_out(someone) -> None:
    told = without_names(
        "/Users/annabel/cbi/.venv on Annabels-Mini.local (Annabels-Mini), annabel; /Volumes/Anna's Disk/x cannot be opened"
    )
    assert told == "~/cbi/.venv on HOST (HOST), USER; /Volumes/DISK/x cannot be opened"


def test_the_file_has_every_check_and_is_never_overwritten(someone, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(mac_checklist, "_machine", lambda: "a Mac of annabel")
    checked = [Checked(n, check, "seen by annabel") for n, check in enumerate(CHECKS, 1)]
    text = write(checked, tmp_path).read_text()

    assert re.findall(r"^(\d+)\. ", text, re.MULTILINE) == [str(n) for n in range(1, 11)]
    assert "annabel" not in text
    with pytest.raises(Refused, match="cannot write"):
        write(checked, tmp_path / "absent")


def test_a_check_that_cannot_be_looked_at_costs_the_others_nothing(monkeypatch) -> None:
    def fails(_settings):
        raise CbiError("the sensors did not answer")

    checks = (Check("one", (), "", fails), Check("two", (), ""), Check("three", (), "", lambda _settings: "fine"))
    monkeypatch.setattr(mac_checklist, "CHECKS", checks)
    seen = [each.seen for each in run_checks(load_settings({}), is_mac=True)]

    assert seen == ["could not be looked at: the sensors did not answer", BY_HAND, "fine"]
    assert {each.seen for each in run_checks(load_settings({}), is_mac=False)} == {"not run: this is not a Mac"}
