"""Lines of a recorded training: what is accepted, what is refused with its line, and what a trace says of cold cost."""

from __future__ import annotations

import json

import pytest

from cbi_queue.replay.traces import BrokenTrace, cold_baselines, read_trace

HEADER = '{"trace": "t", "model": "lstm"}'


def epoch(number, wall_s=0.1, **more):
    body = {"epoch": number, "t_s": number * 1.0, "wall_s": wall_s, "samples": 100, "micro_batch": 32, **more}
    return json.dumps(body)


def trace(*walls, name="t", model="lstm", **more):
    header = json.dumps({"trace": name, "model": model})
    return read_trace([header, *(epoch(n, wall, **more) for n, wall in enumerate(walls))])


def test_epochs_become_work():
    read = read_trace([HEADER, epoch(0), "", epoch(1, cpu_s=0.08, data_s=0.01, slow=1.0, cause="throttle")])
    one = read.work[1]
    assert (read.name, read.model, len(read.work)) == ("t", "lstm", 2)
    assert (one.epoch, one.wall_s, one.samples, one.micro_batch) == (1, 0.1, 100, 32)
    assert (one.at_s, one.cpu_s, one.data_s) == (1.1, 0.08, 0.01)


def test_labels_are_not_looked_at():
    """A replay that peeks proves nothing."""
    labels = {"slow": 1.0, "factor": 9.0, "cause": "throttle"}
    assert read_trace([HEADER, epoch(0, **labels)]) == read_trace([HEADER, epoch(0)])


def test_the_epoch_of_a_changed_micro_batch_is_disturbed():
    read = read_trace([HEADER, epoch(0), epoch(1), epoch(2, micro_batch=16), epoch(3, micro_batch=16)])
    assert [one.disturbed for one in read.work] == [False, False, True, False]


def test_time_without_account_is_told():
    read = read_trace([HEADER, epoch(0, t_s=0.0), epoch(1, t_s=0.5), epoch(2, t_s=900.6)])
    assert [one.gap_s for one in read.work] == pytest.approx([0.0, 0.0, 900.0])


@pytest.mark.parametrize(
    ("lines", "line", "words"),
    [
        ([], 1, "a header and at least one epoch are needed"),
        ([HEADER], 1, "a header and at least one epoch are needed"),
        (["{"], 1, "not JSON"),
        (["[1]"], 1, "an object is needed"),
        (["{}", epoch(0)], 1, "the header needs 'trace' as text, got None"),
        (['{"trace": "t"}', epoch(0)], 1, "the header needs 'model'"),
        ([HEADER, "nonsense"], 2, "not JSON: 'nonsense'"),
        ([HEADER, epoch(0), "", epoch(0)], 4, "epoch 0 comes after epoch 0"),
        ([HEADER, epoch(0, wall_s=0.0)], 2, "wall_s is 0.0"),
        ([HEADER, epoch(0, wall_s="1")], 2, "wall_s must be a number"),
        ([HEADER, epoch(0).replace("0.1", "NaN")], 2, "wall_s must be a number of at least 0, got nan"),
        ([HEADER, epoch(0, samples=0)], 2, "samples must be a whole number of at least 1, got 0"),
        ([HEADER, epoch(0, micro_batch=1.5)], 2, "micro_batch must be a whole number"),
        ([HEADER, epoch(True)], 2, "epoch must be a whole number"),
        ([HEADER, epoch(0, t_s=-1.0)], 2, "t_s must be a number of at least 0"),
        ([HEADER, epoch(0, cpu_s="x")], 2, "cpu_s must be a number"),
    ],
)
def test_a_line_that_is_not_of_the_format_is_named(lines, line, words):
    with pytest.raises(BrokenTrace, match=words) as refused:
        read_trace(lines)
    assert refused.value.line == line


def test_a_hot_start_does_not_spoil_the_cold_cost():
    hot_start = trace(*[0.2] * 60, *[0.1] * 60)
    assert cold_baselines([hot_start])[32].seconds_per_sample == pytest.approx(0.001)


def test_hot_traces_do_not_spoil_the_cold_cost_of_their_model():
    traces = [trace(*[wall] * 40) for wall in (0.2, 0.2, 0.1, 0.1)]
    assert cold_baselines(traces)[32].seconds_per_sample == pytest.approx(0.001)


def test_too_few_epochs_say_nothing_of_cold_cost():
    assert cold_baselines([trace(*[0.1] * 20)]) == {}
    assert cold_baselines([]) == {}
