"""`jobs.training.stored_fits`: no stored fit is believed that is not as it was written."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from jobs.training.stored_fits import read_fits, write_fits

if TYPE_CHECKING:
    from pathlib import Path

CONTENT: dict[str, Any] = {"fits": [{"predicted": [0.25, None, -1e-9]}], "fit_s": 1.5, "may_differ": []}


def test_what_was_written_is_read(tmp_path: Path) -> None:
    size = write_fits(tmp_path / "fits.json", CONTENT)

    assert read_fits(tmp_path / "fits.json") == CONTENT
    assert size == (tmp_path / "fits.json").stat().st_size


def test_a_flipped_bit_anywhere_is_noticed(tmp_path: Path) -> None:
    """A digit that became another one is still JSON, and would become a forecast."""
    path = tmp_path / "fits.json"
    write_fits(path, CONTENT)
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(ValueError, match="incomplete or changed"):
            read_fits(path)


@pytest.mark.parametrize("left", ["", "{", "[]", "null", "1", "[" * 100_000, json.dumps(CONTENT), '{"content": NaN}'])
def test_what_is_torn_or_of_another_kind_is_refused_in_words(tmp_path: Path, left: str) -> None:
    (tmp_path / "fits.json").write_text(left)

    with pytest.raises(ValueError, match="it is incomplete or changed"):
        read_fits(tmp_path / "fits.json")


def test_a_pipe_in_its_place_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fits.json")

    with pytest.raises(OSError, match="it is a pipe"):
        read_fits(tmp_path / "fits.json")
