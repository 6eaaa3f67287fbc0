"""Out of memory for real: the kernel refuses a trainer memory, and the job comes back smaller until it fits."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support.installation import NAIVE

from cbi_queue.ledger import claims
from cbi_queue.ledger.enqueue import enqueue
from cbi_queue.ledger.micro_batch import full_micro_batch
from cbi_queue.ledger.queries import events_of, find_job
from cbi_queue.ledger.settlement import CRASHES_TO_WAIT, MAX_OOMS, downgrade_or_fail, requeue_after_crash
from cbi_queue.ledger.verbs import retry
from cbi_queue.lifecycle import JobState, Outcome
from cbi_queue.spec import DayPlan, JobSpec

if TYPE_CHECKING:
    from support.installation import Installation

    from cbi_queue.ledger import Ledger

WIDE = {
    "name": "wide",
    "family": "simple_neural",
    "model": "feed_forward",
    "horizon": "1w",
    "params": {"epochs": 1, "hidden": [4096], "sequence_length": 1, "batch_size": 4096},
}
"""A training step keeps five tensors or more of batch * 4,096 numbers: some 350 MiB with all 3,800 training rows."""
ROOM_MIB = 300
"""Memory beyond what a trainer maps that has hardly begun: half of the planned batch fits, the whole never."""


def mapped_mib(installation: Installation) -> float:
    """Data that a trainer has mapped once it has read its features and taken a first small step, MiB."""
    code = (
        "import re, sys, torch, jobs.families.feed_forward\n"
        "from pathlib import Path\n"
        "from jobs.data.series import load_frame\n"
        "torch.set_num_threads(1)\n"
        "frame = load_frame(Path(sys.argv[1]), '1w')\n"
        "net = torch.nn.Linear(8, 1); net(torch.zeros(4, 8)).sum().backward()\n"
        "print(re.search(r'VmData:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])"
    )
    command = [sys.executable, "-c", code, str(installation.settings.processed_dir)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=installation.environ)
    return int(done.stdout) / 1024


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux enforces RLIMIT_DATA")
def test_a_net_whose_batch_does_not_fit_finishes_with_a_smaller_micro_batch(installation: Installation) -> None:
    """Nothing is simulated: torch's allocator is refused memory by the kernel, in the middle of a training step."""
    installation.overrides["CBI_TRAINER_MEMORY_MIB"] = str(round(mapped_mib(installation) + ROOM_MIB))
    installation.enqueue(WIDE)

    installation.start_daemon()
    job = installation.until_state("wide", "succeeded", "failed", within_s=120)

    outcomes = [attempt.outcome for attempt in installation.attempts("wide")]
    assert job.state is JobState.SUCCEEDED, installation.story("wide")
    assert outcomes[-1] is Outcome.SUCCESS
    assert set(outcomes[:-1]) == {Outcome.OOM}
    assert job.micro_batch == 4096 // 2**job.ooms
    assert job.ooms == len(outcomes) - 1
    assert "can't allocate memory" in (installation.attempts("wide")[0].error or "")
    told = [event.words or "" for event in installation.events("wide") if event.reason == "out_of_memory"]
    assert [f"will be retried with micro-batch {4096 // 2 ** (n + 1)}" in words for n, words in enumerate(told)] == (
        [True] * job.ooms
    )
    (run,) = installation.settings.models.glob("local/1w/wide-*")
    assert json.loads((run / "model.json").read_text())["micro_batch"] == job.micro_batch


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux enforces RLIMIT_DATA")
def test_the_limit_is_the_trainer_s_and_not_the_daemon_s(installation: Installation) -> None:
    installation.overrides["CBI_TRAINER_MEMORY_MIB"] = "4096"
    installation.enqueue({**NAIVE, "name": "n"})
    daemon = installation.start_daemon()
    installation.until_state("n", "succeeded")
    assert resource.prlimit(daemon.pid, resource.RLIMIT_DATA)[0] == resource.RLIM_INFINITY


def claimed(ledger: Ledger, **job: object) -> int:
    spec = JobSpec.model_validate({"day": 1, "name": "j", "horizon": "1w", **job})
    enqueue(ledger, [DayPlan(day=1, source="test", jobs=(spec,))])
    job_id = find_job(ledger, "j").id
    assert claims.claim(ledger, job_id)
    return job_id


def again(ledger: Ledger, job_id: int) -> bool:
    """Run out of memory once more; tell whether the job comes back, and claim it if so."""
    comes_back = downgrade_or_fail(ledger, job_id, "boom", exit_code=1)
    return comes_back and claims.claim(ledger, job_id) is not None


def wait_s(ledger: Ledger) -> float | None:
    """Seconds from the job's last change until it may start again."""
    job = find_job(ledger, "j")
    return None if job.not_before is None else round(job.not_before - job.changed_at)


def test_a_micro_batch_of_one_is_the_floor_and_comes_back_after_a_wait(ledger: Ledger) -> None:
    """Nothing can be made smaller, but what took the memory may be another program: one kill must not end a job."""
    job_id = claimed(ledger, family="simple_neural", model="lstm", params={"batch_size": 2})
    waits = []
    for _ in range(MAX_OOMS):
        assert downgrade_or_fail(ledger, job_id, "boom", exit_code=-9, backoff_s=30.0)
        assert find_job(ledger, "j").micro_batch == 1
        waits.append(wait_s(ledger))
        ledger.conn.execute("UPDATE jobs SET not_before = NULL")
        assert claims.claim(ledger, job_id)

    assert not downgrade_or_fail(ledger, job_id, "boom", exit_code=-9, backoff_s=30.0)

    assert waits == [None, 60, 120]
    assert find_job(ledger, "j").state is JobState.FAILED
    told = [event.words for event in events_of(ledger, job_id) if event.reason == "out_of_memory"]
    assert told == [
        (
            "boom; will be retried with micro-batch 1, gradients accumulated to the same effective batch: "
            "statistically the same training, other numbers"
        ),
        "boom; will be retried with micro-batch 1, the smallest possible, in 60 s",
        "boom; will be retried with micro-batch 1, the smallest possible, in 2 min",
        "boom (out of memory 4 times, last with micro-batch 1, the smallest possible)",
    ]


def test_a_large_batch_comes_back_three_times_and_no_more(ledger: Ledger) -> None:
    job_id = claimed(ledger, family="simple_neural", model="lstm", params={"batch_size": 64})
    assert [again(ledger, job_id) for _ in range(MAX_OOMS)] == [True] * 3
    assert find_job(ledger, "j").micro_batch == 8
    assert not again(ledger, job_id)


@pytest.mark.parametrize(
    ("job", "words", "waits"),
    [
        (
            {"family": "trees", "model": "lightgbm_dart"},
            "boom; will be retried with half the bins and threads, which make another model",
            None,
        ),
        (
            {"family": "statistical", "model": "ets"},
            "boom; will be retried in a new process; it has no batch that could be smaller, in 30 s",
            30,
        ),
    ],
)
def test_a_model_without_batches_says_what_is_smaller_instead(
    ledger: Ledger, job: dict, words: str, waits: float | None
) -> None:
    """Where nothing is smaller, the same again at once would only end the same."""
    job_id = claimed(ledger, **job)
    assert downgrade_or_fail(ledger, job_id, "boom", exit_code=1, backoff_s=30.0)
    assert events_of(ledger, job_id)[-1].words == words
    assert wait_s(ledger) == waits
    assert find_job(ledger, "j").micro_batch is None


def test_crashes_of_the_daemon_use_none_of_the_retries_after_running_out_of_memory(ledger: Ledger) -> None:
    """Nor do they change the micro-batch; and the words count what happened."""
    job_id = claimed(ledger, family="simple_neural", model="lstm", params={"batch_size": 512})
    for _ in range(5):
        requeue_after_crash(ledger, job_id, CRASHES_TO_WAIT, backoff_s=0.0)
        ledger.conn.execute("UPDATE jobs SET not_before = NULL")
        assert claims.claim(ledger, job_id)
    assert find_job(ledger, "j").micro_batch is None

    assert [again(ledger, job_id) for _ in range(MAX_OOMS + 1)] == [True, True, True, False]

    assert events_of(ledger, job_id)[-1].words == "boom (out of memory 4 times, last with micro-batch 64)"
    retry(ledger, ["j"])
    assert claims.claim(ledger, job_id)
    assert again(ledger, job_id), "a retry by hand gives all of them back"
    assert find_job(ledger, "j").ooms == 1


def test_a_grain_in_the_plan_is_the_most_that_goes_through_at_once(ledger: Ledger) -> None:
    job_id = claimed(ledger, family="simple_neural", model="gru", params={"batch_size": 64, "grain": 16})
    assert full_micro_batch(ledger, find_job(ledger, "j")) == 16
    assert downgrade_or_fail(ledger, job_id, "boom", exit_code=-9)
    assert find_job(ledger, "j").micro_batch == 8
