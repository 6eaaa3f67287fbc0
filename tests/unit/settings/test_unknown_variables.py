"""A variable that is nearly a setting is not ignored in silence: `CBI_STATEDIR` would use another queue."""

from __future__ import annotations

import os

import pytest
from click.testing import CliRunner

from cbi_queue.cli import cli
from cbi_queue.settings import ENVIRONMENT, SURELY_MEANT, unknown_variables

STATEDIR = "the environment variable CBI_STATEDIR is not a setting and is ignored (did you mean 'CBI_STATE_DIR'?)"


def test_every_variable_of_ours_is_known() -> None:
    assert unknown_variables(dict.fromkeys([*ENVIRONMENT, "CBI_CONFIG", "CBI_OVERLAP_LOG"], "x")) == []


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("CBI_STATEDIR", "CBI_STATE_DIR"),
        ("cbi_state_dir", "CBI_STATE_DIR"),
        ("CBI_QUEUE_STATE_DIR", "CBI_STATE_DIR"),
        ("CBI_V14_MODEL", "CBI_V14_MODELS"),
        ("CBI_THREAD", "CBI_THREADS"),
        ("CBI_CONFIG_FILE", "CBI_CONFIG"),
    ],
)
def test_a_slip_is_named_with_what_was_meant(name: str, meant: str) -> None:
    [words] = unknown_variables({name: "x", "PATH": "/bin"}, likeness=SURELY_MEANT)
    assert words == f"the environment variable {name} is not a setting and is ignored (did you mean {meant!r}?)"


@pytest.mark.parametrize("name", ["CBI_ERP_HOST_OF_THE_SALES_OFFICE", "CBI_V14_WAREHOUSE_USER"])
def test_the_variable_of_another_program_is_listed_but_no_slip(name: str) -> None:
    assert unknown_variables({name: "x"}, likeness=SURELY_MEANT) == []
    assert len(unknown_variables({name: "x"})) == 1
    assert unknown_variables({name: "", "CBIX": "x", "XCBI_STATE_DIR": "x"}) == []


def test_a_verb_warns_once_on_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {**os.environ, "CBI_STATEDIR": "/x", "CBI_ERP_USER_OF_THE_OFFICE": "y"})
    done = CliRunner().invoke(cli, ["plan", "schema"])
    assert done.stderr == f"Warning: {STATEDIR}\n"
    assert "Warning" not in done.stdout
    assert CliRunner().invoke(cli, ["--help"]).stderr == ""
    assert CliRunner().invoke(cli, ["completions", "bash"]).stderr == ""
