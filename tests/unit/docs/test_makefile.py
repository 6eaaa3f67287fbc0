"""What the Makefile asks of a machine before it makes the environment."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

MAKEFILE = (Path(__file__).parents[3] / "Makefile").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("version", "is_fit"), [((3, 9), False), ((3, 10), False), ((3, 11), True), ((3, 14), True), ((3, 15), False)]
)
def test_a_python_without_wheels_is_refused_before_pip_starts_compilers(version, is_fit, monkeypatch):
    """3.15 lacks wheels of five packages at the held versions; pip would fail without a word about the cause."""
    (check,) = re.findall(r"\$\(PYTHON\) -c '(import sys; sys\.exit\(.*)'", MAKEFILE)
    monkeypatch.setattr(sys, "version_info", (*version, 0, "final", 0))
    with pytest.raises(SystemExit) as ended:
        exec(check)
    assert (ended.value.code == 0) == is_fit
    assert is_fit or "needs Python 3.11 to 3.14" in str(ended.value.code)
    assert is_fit or "make PYTHON=python3.12 env" in str(ended.value.code)
