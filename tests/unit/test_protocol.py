"""The lines between slot and trainer: what goes out comes in the same; what is not ours is refused."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbi_queue import protocol
from cbi_queue.errors import ProtocolError
from cbi_queue.protocol import (
    MAX_LINE_BYTES,
    PROTOCOL_VERSION,
    Assignment,
    Begin,
    Directive,
    EpochReport,
    Failed,
    FailureKind,
    Finished,
    Hello,
    Message,
    Note,
    Pause,
    Report,
    Restored,
    Stop,
    decode_directive,
    decode_report,
    encode,
)

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
WHOLE = st.integers(-(2**63) + 1, 2**63 - 1)
NUMBER = st.floats(allow_nan=False, allow_infinity=False, min_value=-9e18, max_value=9e18)
PLAIN = st.recursive(
    st.none() | st.booleans() | WHOLE | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
KINDS: dict[Any, st.SearchStrategy[Any]] = {
    int: WHOLE,
    float: NUMBER,
    str: TEXT,
    bool: st.booleans(),
    FailureKind: st.sampled_from(FailureKind),
    dict[str, Any]: st.dictionaries(TEXT, PLAIN, max_size=4),
    dict[str, str]: st.dictionaries(TEXT, TEXT, max_size=4),
    tuple[str, ...]: st.lists(TEXT, max_size=3).map(tuple),
    tuple[dict[str, Any], ...]: st.lists(st.dictionaries(TEXT, PLAIN, max_size=4), max_size=3).map(tuple),
}
DIRECTIVES = {cls.type for cls in get_args(Directive)}
MESSAGES = [cls for cls in vars(protocol).values() if isinstance(cls, type) and issubclass(cls, Message) and cls.type]


def of_kind(kind: Any) -> st.SearchStrategy[Any]:
    if kind is Assignment:
        return instances(Assignment)
    if kind in KINDS:
        return KINDS[kind]
    return st.one_of(*(st.none() if one is type(None) else of_kind(one) for one in kind.__args__))


def instances(cls: type[Any]) -> st.SearchStrategy[Any]:
    hints = get_type_hints(cls)
    return st.builds(cls, **{field.name: of_kind(hints[field.name]) for field in fields(cls)})


def decode(line: bytes) -> Message:
    return decode_directive(line) if json.loads(line)["type"] in DIRECTIVES else decode_report(line)


def test_every_message_is_known_by_a_name_of_its_own():
    assert len(MESSAGES) == len({cls.type for cls in MESSAGES})
    assert set(MESSAGES) == {*get_args(Directive), *get_args(Report)}


@pytest.mark.parametrize("cls", MESSAGES, ids=lambda cls: cls.type)
@given(st.data())
@settings(max_examples=10)
def test_each_kind_of_message_comes_in_as_it_went_out(cls, data):
    """A message that was declared and not entered in the wire's table would be refused by the other side."""
    message = data.draw(instances(cls))

    assert decode(encode(message)) == message


@given(st.data())
def test_every_message_comes_in_as_it_went_out(data):
    message = data.draw(st.sampled_from(MESSAGES).flatmap(instances))

    line = encode(message)

    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1, "one message is one line, whatever its text"
    assert decode(line) == message
    assert decode(line.rstrip(b"\n")) == message


@given(st.binary(max_size=200))
def test_no_bytes_do_anything_but_decode_or_be_refused(line):
    for read in (decode_report, decode_directive):
        try:
            read(line)
        except ProtocolError:
            continue


@given(PLAIN, st.data())
def test_a_field_of_any_wrong_value_is_refused_or_fits(value, data):
    """What is decoded goes into the database and into sums: it must be of the kind that was declared."""
    cls = data.draw(st.sampled_from(MESSAGES))
    message = data.draw(instances(cls))
    body = json.loads(encode(message))
    name = data.draw(st.sampled_from(sorted(set(body) - {"v", "type"}) or ["extra"]))
    body[name] = value

    try:
        decoded = decode(json.dumps(body).encode())
    except ProtocolError:
        return
    seen = getattr(decoded, name)
    assert (list(seen) if isinstance(seen, tuple) else seen) == value or isinstance(seen, Assignment)
    encode(decoded)


GOOD = {"v": PROTOCOL_VERSION, "type": "epoch", "epoch": 1, "total_epochs": 2, "wall_s": 0.5}


def line_of(**changes: Any) -> bytes:
    return json.dumps({key: value for key, value in {**GOOD, **changes}.items() if value != "left out"}).encode()


def test_the_line_that_the_next_test_spoils_is_good():
    assert decode_report(line_of()) == EpochReport(1, 2, 0.5)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"", "not a protocol line"),
        (b"\n", "not a protocol line"),
        (b"Epoch 1/10 - loss: 0.3\n", "not a protocol line"),
        (b"\xff\xfe\x00", "not a protocol line"),
        (b"[]", "not a protocol line"),
        (b"7", "not a protocol line"),
        (b"null", "not a protocol line"),
        (b"[" * 100_000, "not a protocol line"),
        (line_of()[:-1], "not a protocol line"),
        (line_of(v="left out"), "not a protocol line"),
        (line_of(type="left out"), "not a protocol line"),
        (line_of().replace(b"0.5", b"NaN"), "not a protocol line"),
        (line_of().replace(b"0.5", b"-Infinity"), "not a protocol line"),
        (line_of().replace(b"0.5", b"1e999"), "not a protocol line"),
        (line_of().replace(b"0.5", b"9" * 5000), "not a protocol line"),
        (
            line_of(v=PROTOCOL_VERSION + 1),
            f"received protocol version {PROTOCOL_VERSION + 1}; this version of cbi-queue uses {PROTOCOL_VERSION}",
        ),
        (line_of(v=1), f"received protocol version 1; this version of cbi-queue uses {PROTOCOL_VERSION}"),
        (line_of(v=True), "received protocol version True"),
        (line_of(v=[1]), "protocol version"),
        (line_of(type="dance"), "unknown line type 'dance'"),
        (line_of(type=["epoch"]), "unknown line type"),
        (line_of(type=None), "unknown line type"),
        (line_of(type="stop"), "unknown line type 'stop'"),
        (line_of(epoch="left out"), "wrong fields"),
        (line_of(surprise=1), "wrong fields"),
        (line_of(epoch="1"), "epoch cannot be '1'"),
        (line_of(epoch=1.0), "epoch cannot be 1.0"),
        (line_of(epoch=True), "epoch cannot be True"),
        (line_of(epoch=2**63), "epoch cannot be"),
        (line_of(wall_s=None), "wall_s cannot be None"),
        (line_of(samples=[]), "samples cannot be"),
        (line_of(resumed=1), "resumed cannot be 1"),
        (b'{"v":2,"type":"note","text":"\\ud800"}', "text cannot be"),
        (b'{"v":2,"type":"failed","kind":"mood","error":"x"}', "wrong fields"),
        (b'{"v":2,"type":"failed","kind":[],"error":"x"}', "wrong fields"),
        (b'{"v":2,"type":"restored","epoch":1,"path":"p","rejected":"text"}', "rejected cannot be"),
        (b" " * (MAX_LINE_BYTES + 1), f"received a line of {MAX_LINE_BYTES + 1} bytes"),
    ],
    ids=lambda value: repr(value[:40]),
)
def test_a_line_that_is_not_ours_is_refused_in_words(line, words):
    with pytest.raises(ProtocolError) as refused:
        decode_report(line)

    assert words in refused.value.message
    assert len(refused.value.message) < 700, "a long line is not repeated whole"


@pytest.mark.parametrize("body", [{}, {"assignment": None}, {"assignment": {}}, {"assignment": {"job_id": 1}}])
def test_an_assignment_that_is_not_whole_is_refused(body):
    with pytest.raises(ProtocolError):
        decode_directive(json.dumps({"v": 2, "type": "begin", **body}).encode())


def test_reports_and_directives_are_not_mixed_up():
    for line in (encode(Pause()), encode(Stop())):
        with pytest.raises(ProtocolError):
            decode_report(line)
    with pytest.raises(ProtocolError):
        decode_directive(encode(Hello(1, "3.11")))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_not_finite_is_not_sent(value):
    for message in (EpochReport(1, 2, 0.5, train_loss=value), Finished(metrics={"skill": [value]})):
        with pytest.raises(ProtocolError, match="cannot send"):
            encode(message)


def test_a_line_that_would_be_too_long_is_not_sent():
    with pytest.raises(ProtocolError, match=f"{MAX_LINE_BYTES} are allowed"):
        encode(Note("x" * MAX_LINE_BYTES))


def test_something_that_json_cannot_say_is_not_sent():
    with pytest.raises(ProtocolError):
        encode(Finished(metrics={"model": object()}))


def test_the_name_of_a_broken_file_in_an_error_can_be_told_and_stored():
    """A file name that is no valid text must not cost the message that names it."""
    told = decode_report(encode(Failed(FailureKind.ERROR, "FileNotFoundError: /data/\udcff.parquet")))

    assert told == Failed(FailureKind.ERROR, "FileNotFoundError: /data/?.parquet")
    told.error.encode()


def test_what_is_left_out_has_its_default():
    assert decode_report(b'{"v":2,"type":"restored","epoch":3,"path":"p"}') == Restored(3, "p")
    assignment = Assignment(
        job_id=1, attempt=1, ledger_id="l", identity="i", spec={}, run_dir="/r", exports_dir="/e", processed_dir="/p"
    )
    begin = decode_directive(encode(Begin(assignment)))
    assert isinstance(begin, Begin)
    assert begin.assignment.grace_s == 20.0
