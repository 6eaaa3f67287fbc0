"""`cbi-queue governor replay` on the recorded trainings, scored by their labels, and on broken files."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from statistics import median

import pytest
from click.testing import CliRunner

from cbi_queue.cli import cli
from cbi_queue.errors import Refused
from cbi_queue.governor.values import Action
from cbi_queue.hardware.thresholds import Thresholds
from cbi_queue.replay.replay import read_traces, replay, steps

ROOT = Path(__file__).parents[2]
TRACES = sorted((ROOT / "tests" / "traces").glob("*.jsonl"))
NOISY = [path for path in TRACES if path.name.startswith("trace-")]


@pytest.fixture(scope="module")
def scores():
    """The benchmark's scorer, loaded as the file that it is."""
    found = importlib.util.spec_from_file_location("trace_scores", ROOT / "benchmarks" / "trace_scores.py")
    module = importlib.util.module_from_spec(found)
    sys.modules["trace_scores"] = module
    found.loader.exec_module(module)
    yield module
    del sys.modules["trace_scores"]


def run(*arguments):
    return CliRunner().invoke(cli, ["governor", "replay", *map(str, arguments)])


def hot_trace(path, *, hot=60, cool=60, **extra):
    """A trace that is 1.6 times as slow for its first *hot* epochs."""
    lines, t_s = [{"trace": path.name, "model": "lstm"}], 0.0
    for epoch in range(hot + cool):
        wall_s = (0.16 if epoch < hot else 0.1) * (1.0 + 0.005 * (epoch % 3))
        more = {name: value(wall_s) for name, value in extra.items()}
        lines.append({"epoch": epoch, "t_s": t_s, "wall_s": wall_s, "samples": 100, "micro_batch": 32, **more})
        t_s += wall_s
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.mark.parametrize("alone", [False, True])
def test_recorded_slowdowns_are_found_soon_and_with_few_false_alarms(scores, alone):
    """The targets of the project, on real trainings of a real machine; the traces are judged together and one by one."""
    traces = read_traces(TRACES)
    replays = [one for trace in traces for one in replay([trace])] if alone else replay(traces)

    found = scores.score([scores.labelled(path) for path in TRACES], [a for one in replays for a in one.alarms])

    assert found.slowdowns == 31
    assert found.recall >= 0.95
    assert median(found.delays) <= 3
    assert median(found.delays_s) <= 1.0
    assert found.false_per_1000 <= 1.0


def test_json_is_one_object_a_line_with_epochs_as_in_the_file():
    result = run("--json", NOISY[4])
    alarms = [json.loads(line) for line in result.stdout.splitlines()]
    assert [alarm["trace"] for alarm in alarms] == ["trace-104.jsonl"] * 2
    first = alarms[0]
    assert (first["start_epoch"], first["end_epoch"], first["cause"]) == (75, 109, "unknown")
    assert 75 <= first["detected_epoch"] <= 81
    assert first["factor"] == pytest.approx(1.46, abs=0.08)


def test_a_slowdown_that_lasts_has_no_end(tmp_path):
    cold, hot = hot_trace(tmp_path / "cold.jsonl", hot=0), hot_trace(tmp_path / "hot.jsonl", cool=0)
    (alarm,) = [json.loads(line) for line in run("--json", hot, "--baselines", cold).stdout.splitlines()]
    assert (alarm["trace"], alarm["end_epoch"], alarm["in_hindsight"]) == ("hot.jsonl", None, False)
    assert alarm["factor"] == pytest.approx(1.6, rel=0.02)


def test_a_trace_that_starts_hot_is_seen_at_once_beside_another_of_its_model(tmp_path):
    cold, hot = hot_trace(tmp_path / "cold.jsonl", hot=0), hot_trace(tmp_path / "hot.jsonl")
    (alarm,) = [json.loads(line) for line in run("--json", cold, hot).stdout.splitlines()]
    assert alarm["trace"] == "hot.jsonl"
    assert alarm["detected_epoch"] <= 8
    assert alarm["end_epoch"] == 59


def test_a_hot_start_alone_is_told_in_hindsight(tmp_path):
    (alarm,) = [json.loads(line) for line in run("--json", hot_trace(tmp_path / "hot.jsonl")).stdout.splitlines()]
    assert (alarm["start_epoch"], alarm["end_epoch"], alarm["in_hindsight"]) == (0, 59, True)
    assert 60 <= alarm["detected_epoch"] <= 65


def test_processor_time_in_a_trace_tells_the_cause_apart(tmp_path):
    """The added time of these epochs went into bringing data together."""
    cold = hot_trace(tmp_path / "a.jsonl", hot=0)
    slow_later = tmp_path / "b.jsonl"
    header, *epochs = hot_trace(slow_later, hot=60, data_s=lambda wall_s: wall_s - 0.09).read_text().splitlines()
    turned = [*epochs[60:], *epochs[:60]]
    renumbered = [json.dumps({**json.loads(line), "epoch": n, "t_s": n * 0.17}) for n, line in enumerate(turned)]
    slow_later.write_text("\n".join([header, *renumbered]))

    (alarm,) = [json.loads(line) for line in run("--json", slow_later, "--baselines", cold).stdout.splitlines()]

    assert alarm["cause"] == "data"


def test_people_get_a_table_with_a_picture():
    result = run(NOISY[0], NOISY[2])
    assert result.exit_code == 0
    assert "trace-102.jsonl" in result.stdout
    assert "▁▁▁" in result.stdout
    told = " ".join(result.stdout.split())
    assert "no measurement shows why" in told
    assert "would probe: a sample takes" in told


def test_the_policy_without_readings_asks_for_a_probe_and_takes_no_step():
    """An unknown cause is no reason to slow a training down."""
    for one in replay(read_traces(TRACES)):
        decided = steps(one, Thresholds())
        assert {decision.action for decision in decided} <= {Action.PROBE, Action.TELL}
        assert len(decided) <= 2 * len(one.alarms)


def test_a_broken_line_is_named_with_its_file_and_nothing_is_replayed(tmp_path):
    broken = tmp_path / "broken.jsonl"
    broken.write_text(NOISY[0].read_text() + '{"epoch": "x"}\n')

    with pytest.raises(Refused) as refused:
        replay(read_traces([NOISY[0], broken]))

    assert refused.value.exit_code == 2
    assert refused.value.message.startswith(f"{broken}:252: epoch must be a whole number")
    assert run(NOISY[0], broken).stdout == ""


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "cannot read the trace .*: No such file"), (b"\xff\xfe", "no UTF-8"), (b"", ":1: a header and at least")],
)
def test_a_file_that_is_no_trace_is_refused(tmp_path, content, words):
    path = tmp_path / "file.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Refused, match=words):
        read_traces([path])
