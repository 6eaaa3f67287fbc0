"""What of a command's output belongs into its log: all of it, but of a bar only a state now and then, and the last."""

from __future__ import annotations

import pytest

from jobs.script.output import Overwritten


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_bar_is_a_line_every_few_seconds_and_its_last_state(size: int) -> None:
    """Whatever pieces the pipe gives; tqdm begins each state with a carriage return and ends the last with a newline."""
    states = b"".join(b"\r%3d%%|bar| %d/100" % (done, done) for done in range(101))
    text = b"begin\n" + states + b"\nend\n"
    log = Overwritten(every_s=40.0)
    kept = b"".join(log.take(text[at : at + size], now_s=100 * at / len(text)) for at in range(0, len(text), size))
    lines = (kept + log.rest()).splitlines()
    assert lines[0] == b"begin"
    assert lines[-2:] == [b"100%|bar| 100/100", b"end"]
    assert len(lines) == (5 if size == 1000 else 6), lines


@pytest.mark.parametrize(
    ("text", "log"),
    [
        (b"a\r\nb\r\n", b"a\r\nb\r\n"),
        (b"no newline", b"no newline"),
        (b"one\rtwo", b"one\ntwo"),
        (b"\r" + b"x" * 9000 + b"\n", b"x" * 9000 + b"\n"),
        (b"\n\n\r\r\n", b"\n\n\r\n"),
        (bytes(range(256)), bytes(range(13)) + b"\n" + bytes(range(14, 256))),
    ],
)
def test_nothing_else_is_lost(text: bytes, log: bytes) -> None:
    output = Overwritten()
    assert output.take(text, 0.0) + output.rest() == log
