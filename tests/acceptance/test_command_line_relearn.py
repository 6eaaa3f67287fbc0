"""`governor baselines` and `governor relearn` through the real `cbi-queue`."""

from __future__ import annotations

import pytest

from cbi_queue.governor.values import Baseline
from cbi_queue.ledger.claims import claim
from cbi_queue.ledger.learned import store_baselines, store_probe
from cbi_queue.ledger.queries import find_job

COLD = Baseline(0.00123, 0.02, 640)
NET_1W, LSTM_1M = "feed_forward 1w rows=400 threads=2", "lstm 1m rows=400 threads=2"


@pytest.fixture
def taught(home):
    """An installation whose ledger has the cold baselines of two models, and one probe."""
    with home.ledger() as ledger:
        store_baselines(ledger, NET_1W, {32: COLD, None: COLD})
        store_baselines(ledger, LSTM_1M, {32: COLD})
        store_probe(ledger, "cpu", "matmul-1", 0.0201)
    return home


def known(home):
    found = home.json("governor", "baselines")
    return [row["fingerprint"] for row in found["baselines"]], [row["device"] for row in found["probes"]]


def test_what_is_known_is_listed(taught):
    said = taught.run("governor", "baselines")

    for words in ("1.23 ms", "640", "32", NET_1W, LSTM_1M, "matmul-1", "cpu", "20.1 ms"):
        assert words in said
    only = taught.json("governor", "baselines", "lstm")["baselines"]
    assert [(row["fingerprint"], row["micro_batch"], row["seconds_per_sample"]) for row in only] == [
        (LSTM_1M, 32, 0.00123)
    ]
    assert only[0]["reports"] == 640
    assert only[0]["learned_at"] > 1.7e9


def test_before_the_first_run_nothing_is_known(home):
    assert "No cold baseline has been learned yet" in home.run("governor", "baselines")
    assert "nothing to delete" in home.run("governor", "relearn", "--all")


def test_relearning_prints_what_it_forgot_and_asks_nothing(taught):
    said = taught.run("governor", "relearn", "feed_forward 1w")

    assert f"Deleted {NET_1W}, micro-batch 32: 1.23 ms a sample, learned " in said
    assert f"Deleted {NET_1W}: 1.23 ms a sample" in said
    assert "keeps its baseline" not in said
    assert known(taught) == ([LSTM_1M], ["cpu"])


def test_everything_can_be_forgotten_at_once(taught):
    found = taught.json("governor", "relearn", "--all", "--probes")

    assert [row["fingerprint"] for row in found["baselines"]] == [NET_1W, NET_1W, LSTM_1M]
    assert [row["workload"] for row in found["probes"]] == ["matmul-1"]
    assert (found["dry_run"], found["goes_on"]) == (False, None)
    assert known(taught) == ([], [])


def test_a_dry_run_says_what_it_would_do(taught):
    assert f"Would delete {LSTM_1M}, micro-batch 32" in taught.run("governor", "relearn", "lstm", "--dry-run")
    assert "Would delete the calibration probe matmul-1 on cpu: 20.1 ms" in taught.run(
        "governor", "relearn", "--probes", "--dry-run"
    )
    assert known(taught) == ([NET_1W, NET_1W, LSTM_1M], ["cpu"])


def test_a_job_that_trains_is_told_to_go_on_as_it_began(taught):
    with taught.ledger() as ledger:
        job = find_job(ledger, "net-1w")
        assert claim(ledger, job.id)

    assert "keeps its baseline" not in taught.run("governor", "relearn", "lstm")
    said = taught.run("governor", "relearn", "feed_forward")

    assert f"net-1w (job {job.id}) keeps its baseline for now; this applies from its next attempt." in said


@pytest.mark.parametrize("verb", ["baselines", "relearn"])
def test_an_unknown_name_is_refused_with_what_there_is(taught, verb):
    said = taught.run("governor", verb, "lstm", "ls", code=2)

    assert "no cold baseline matches 'ls'; known models: feed_forward, lstm" in said
    assert known(taught) == ([NET_1W, NET_1W, LSTM_1M], ["cpu"])


@pytest.mark.parametrize("arguments", [[], ["lstm", "--all"], ["lstm", "--all", "--probes"]], ids=" ".join)
def test_what_to_forget_must_be_said_in_one_way(taught, arguments):
    said = taught.run("governor", "relearn", *arguments, code=2)

    assert "name models or fingerprints, or use --all" in said
    assert known(taught) == ([NET_1W, NET_1W, LSTM_1M], ["cpu"])


def test_the_shell_completes_models(taught):
    said = taught.run(_CBI_QUEUE_COMPLETE="bash_complete", COMP_WORDS="cbi-queue governor relearn f", COMP_CWORD="3")

    assert said.split() == ["plain,feed_forward"]
