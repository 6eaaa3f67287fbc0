"""What of a command's output belongs into its log: all of it, but of a bar only a state now and then, and the last."""

from __future__ import annotations

import os

import pytest

from jobs.script import output
from jobs.script.output import Output, Overwritten


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


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_nested_bars_are_thinned_as_one_is(size: int) -> None:
    """As tqdm writes them: it goes down to the inner bar by newlines, and up again by escapes."""
    inner = b"".join(b"\n\rbatch: %d/50\x1b[A" % done for done in range(51))
    text = b"\repoch: 0/2" + 2 * (inner + b"\n\r       \x1b[A") + b"\repoch: 2/2\nend"
    log = Overwritten(every_s=1e9)
    kept = b"".join(log.take(text[at : at + size], now_s=0.0) for at in range(0, len(text), size))
    lines = (kept + log.rest()).splitlines()
    assert len(lines) <= 5, lines
    assert lines[0] == b"epoch: 0/2"
    assert lines[-2:] == [b"epoch: 2/2", b"end"]


@pytest.mark.parametrize(
    ("text", "log"),
    [
        (b"a\r\nb\r\n", b"a\r\nb\r\n"),
        (b"no newline", b"no newline\n"),
        (b"one\rtwo", b"one\ntwo\n"),
        (b"\x1b[1;31mred\x1b[0m\x1b]0;title\x07\n", b"red\n"),
        (b"\r" + b"x" * 9000 + b"\n", b"x" * 9000 + b"\n"),
        (b"\n\n\r\r\n", b"\n\n\r\n"),
        (bytes(range(256)), bytes(range(13)) + b"\n" + bytes(range(14, 256)) + b"\n"),
    ],
)
def test_nothing_else_is_lost(text: bytes, log: bytes) -> None:
    output = Overwritten()
    assert output.take(text, 0.0) + output.rest() == log


def test_a_flood_waits_for_nothing_and_the_log_has_its_begin_its_end_and_how_much_is_missing(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """All of it comes within one second; the pipe takes all of it although the log is full."""
    monkeypatch.setattr(output.time, "monotonic", lambda: 1.0)
    monkeypatch.setattr(output, "BYTES_A_SECOND", 3 * 2**18)
    read, write = os.pipe()
    copy = Output(read)
    lines = b"".join(b"%09d\x1b\n" % number for number in range(200_000))
    with os.fdopen(write, "wb") as pipe:
        pipe.write(b"10%|#| 1/10 [\rab\n" + lines + b"the end")
    copy.wait(60)
    begin, found, end = capfd.readouterr().out.partition("\n[")
    assert found
    assert begin.startswith("10%|#| 1/10 [\nab\n000000000?\n000000001?\n")
    assert len(begin) == pytest.approx(3 * 2**18, abs=2**17)
    words, _, rest = end.partition("]\n")
    left_out = int(words.split()[0])
    assert len(begin) + left_out == len(lines) + len(b"10%|#| 1/10 [\rab\nthe end"), "no line is broken"
    assert rest.endswith("000199999?\nthe end\n")
    assert len(rest) == output.KEPT_BYTES + 1
    assert copy.progress == output.Progress(1, 10, "step")
