"""Memory before the claim: what waits, what starts smaller, what is refused, and what is learned from a run."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from support.fakes import FakeClock
from support.installation import NAIVE, NET

from cbi_queue import clock
from cbi_queue.hardware import PROFILES
from cbi_queue.hardware.fit import Need
from cbi_queue.hardware.memory import Peak, line_for
from cbi_queue.ledger import Ledger, claims, queries
from cbi_queue.ledger.enqueue import enqueue
from cbi_queue.ledger.peaks import KEPT_A_KIND, PeakRow, expected_mib, peaks_by_backend, peaks_of, store_peak
from cbi_queue.ledger.verbs import cancel, edit
from cbi_queue.ledger.waits import recheck_unfit
from cbi_queue.lifecycle import JobState, Outcome
from cbi_queue.models.memory_formulas import DENSE, Shape
from cbi_queue.readings.values import MemoryReading, PressureLevel, Unknown
from cbi_queue.spec import DayPlan, JobSpec
from workers.slot.admission import MAX_PRESSURE_S, Admission
from workers.trainer.memory_taken import Taken

if TYPE_CHECKING:
    from pathlib import Path

    from support.installation import Installation

BIG = {**NET, "name": "big", "params": {"hidden": [8], "sequence_length": 64, "batch_size": 512}}
SMALL = {**NAIVE, "name": "small"}
ROOMY = PROFILES["linux-cpu"].fitted(100_000)


def free(mib: float | None, level: PressureLevel | None = PressureLevel.NORMAL) -> MemoryReading:
    return MemoryReading(1.0, "a test", level=level, available_mib=mib)


@pytest.fixture
def ledger(ledger: Ledger) -> Ledger:
    """A ledger with a big job and a small one."""
    specs = tuple(JobSpec.model_validate({"day": 1, **job}) for job in (BIG, SMALL))
    enqueue(ledger, [DayPlan(day=1, source="test", jobs=specs)])
    return ledger


@pytest.fixture
def admission(feature_dir: Path) -> Admission:
    return Admission(ROOMY, feature_dir)


def next_job(ledger: Ledger) -> str | None:
    job = claims.peek(ledger)
    return job.name if job else None


def words_of(ledger: Ledger, name: str, event: str) -> list[str | None]:
    job_id = queries.find_job(ledger, name).id
    return [row.words for row in queries.events_of(ledger, job_id) if row.event == event]


def test_a_job_that_fits_is_admitted_without_a_word(ledger: Ledger, admission: Admission) -> None:
    job = queries.find_job(ledger, "big")
    assert admission.admit(ledger, job, free(50_000.0))
    assert [event.event for event in queries.events_of(ledger, job.id)] == ["enqueue"]


def test_a_job_that_does_not_fit_just_now_waits_with_its_figures_and_lets_others_go(
    ledger: Ledger, admission: Admission
) -> None:
    assert next_job(ledger) == "big"
    assert not admission.admit(ledger, queries.find_job(ledger, "big"), free(300.0))

    job = queries.find_job(ledger, "big")
    assert (job.state, job.reason, job.micro_batch) == (JobState.QUEUED, "memory_short", None)
    (words,) = words_of(ledger, "big", "waits")
    assert words is not None
    assert words.endswith("300 MiB are free now")
    assert next_job(ledger) == "small"


def test_free_memory_that_was_read_while_the_last_trainer_held_it_puts_no_job_off(
    ledger: Ledger, admission: Admission, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a job of lower priority would take the slot for hours, at every empty slot anew."""
    now = FakeClock(1000.0)
    monkeypatch.setattr(clock, "boot_s", now)
    held = replace(free(300.0), at_s=999.0)
    admission.trainer_ended()

    assert not admission.admit(ledger, queries.find_job(ledger, "big"), held)
    assert next_job(ledger) == "big"
    assert words_of(ledger, "big", "waits") == []
    assert admission.admit(ledger, queries.find_job(ledger, "small"), replace(free(50_000.0), at_s=999.0))

    assert not admission.admit(ledger, queries.find_job(ledger, "big"), replace(free(300.0), at_s=1001.0))
    assert next_job(ledger) == "small", "what was read after it counts"


def test_a_wait_is_told_once_however_long_it_lasts(ledger: Ledger, admission: Admission) -> None:
    for _ in range(5):
        admission.admit(ledger, queries.find_job(ledger, "big"), free(300.0))
    assert len(words_of(ledger, "big", "waits")) == 1


def test_a_waiting_job_starts_when_there_is_room_and_loses_its_reason(ledger: Ledger, admission: Admission) -> None:
    admission.admit(ledger, queries.find_job(ledger, "big"), free(300.0))
    with ledger.write() as conn:
        conn.execute("UPDATE jobs SET not_before = 1 WHERE name = 'big'")
    assert next_job(ledger) == "big", "it has the first look at an empty slot"

    job = queries.find_job(ledger, "big")
    assert admission.admit(ledger, job, free(50_000.0))
    assert claims.claim(ledger, job.id)
    assert queries.find_job(ledger, "big").reason == "claimed"


@pytest.mark.parametrize("level", [PressureLevel.WARN, PressureLevel.CRITICAL])
def test_nothing_starts_while_the_system_calls_memory_short(
    ledger: Ledger, admission: Admission, level: PressureLevel
) -> None:
    """On macOS the level is the only word there is: no figure of free memory can be trusted."""
    assert not admission.admit(ledger, queries.find_job(ledger, "small"), free(None, level))
    (words,) = words_of(ledger, "small", "waits")
    assert words == f"the system's memory pressure is {level.name.lower()} (a test)"
    assert queries.find_job(ledger, "small").reason == "machine_strained"
    assert next_job(ledger) == "big", "nobody goes first: it concerns every job"


def test_a_level_that_is_stuck_does_not_stop_the_queue(
    ledger: Ledger, admission: Admission, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = FakeClock(100.0)
    monkeypatch.setattr(clock, "monotonic_s", now)
    job, stuck = queries.find_job(ledger, "small"), free(None, PressureLevel.WARN)
    assert not admission.admit(ledger, job, stuck)
    now.advance(MAX_PRESSURE_S - 1)
    assert not admission.admit(ledger, job, stuck)
    now.advance(1)
    assert admission.admit(ledger, job, stuck)


@pytest.mark.parametrize("silent", [Unknown("did not answer within 5 s", 2.0), free(9000.0, None)])
def test_a_sensor_that_falls_silent_under_pressure_opens_no_gate_but_not_for_ever(
    ledger: Ledger, admission: Admission, monkeypatch: pytest.MonkeyPatch, silent: MemoryReading | Unknown
) -> None:
    """It does so exactly when the machine thrashes."""
    now = FakeClock(100.0)
    monkeypatch.setattr(clock, "monotonic_s", now)
    small, big = queries.find_job(ledger, "small"), queries.find_job(ledger, "big")
    assert admission.admit(ledger, small, silent), "what was never pressed keeps nobody back"
    assert not admission.admit(ledger, small, free(None, PressureLevel.CRITICAL))
    now.advance(MAX_PRESSURE_S - 1)
    assert not admission.admit(ledger, big, silent)
    (words,) = words_of(ledger, "big", "waits")
    assert words is not None
    assert words.startswith("the system's memory pressure was critical (a test) when it could last be read: ")
    now.advance(1)
    assert admission.admit(ledger, small, silent)


def test_the_governor_s_word_keeps_the_next_job_back_and_is_told_once(ledger: Ledger, admission: Admission) -> None:
    for _ in range(3):
        job = queries.find_job(ledger, "big")
        assert not admission.admit(
            ledger, job, free(50_000.0), "the chip is at 109 °C: no job starts until it has eased"
        )
    assert words_of(ledger, "big", "waits") == ["the chip is at 109 °C: no job starts until it has eased"]
    assert admission.admit(ledger, queries.find_job(ledger, "big"), free(50_000.0), None)


@pytest.mark.parametrize("memory", [None, Unknown("no sensor", 1.0), free(None, None)])
def test_unknown_free_memory_leaves_the_working_set_to_decide(
    ledger: Ledger, feature_dir: Path, memory: MemoryReading | Unknown | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    job = queries.find_job(ledger, "big")
    assert Admission(ROOMY, feature_dir).admit(ledger, job, memory)
    assert ("admission.blind" in caplog.text) == isinstance(memory, Unknown)
    assert not Admission(PROFILES["linux-cpu"].fitted(400), feature_dir).admit(ledger, job, memory)
    (words,) = words_of(ledger, "big", "waits")
    assert "even with micro-batch 1; one trainer may hold 320 MiB here" in (words or "")


def test_a_job_that_can_never_fit_says_so_and_is_no_work_that_is_left(ledger: Ledger, feature_dir: Path) -> None:
    """Its estimate grew by what was measured, or the profile is another, after it was enqueued."""
    admission = Admission(PROFILES["linux-cpu"].fitted(400), feature_dir)
    for _ in range(2):
        assert not admission.admit(ledger, queries.find_job(ledger, "big"), free(50_000.0))

    job = queries.find_job(ledger, "big")
    assert (job.state, job.reason) == (JobState.QUEUED, "memory_never")
    (words,) = words_of(ledger, "big", "waits")
    assert words is not None
    assert words.endswith(
        "one trainer may hold 320 MiB here: make its parameters smaller with `cbi-queue edit`, or choose another profile"
    )
    assert next_job(ledger) == "small"
    assert queries.workload(ledger).runnable == 1
    assert [row.name for row in queries.failed_since(ledger, queries.last_event_id(ledger))] == ["big"]
    cancel(ledger, ["small"])
    assert queries.workload(ledger).is_empty
    assert not queries.is_job_coming(ledger)


def test_a_job_that_could_never_fit_is_looked_at_again_once_it_is_edited(ledger: Ledger, feature_dir: Path) -> None:
    """And when a daemon starts, perhaps with another profile."""
    admission = Admission(PROFILES["linux-cpu"].fitted(400), feature_dir)
    admission.admit(ledger, queries.find_job(ledger, "big"), free(50_000.0))
    edit(ledger, "big", {"params.sequence_length": 4})
    assert next_job(ledger) == "big"
    assert queries.workload(ledger).runnable == 2

    admission.admit(ledger, queries.find_job(ledger, "big"), free(50_000.0))
    assert next_job(ledger) == "small"
    recheck_unfit(ledger)
    assert next_job(ledger) == "big"


def test_a_run_until_the_queue_is_empty_ends_without_a_job_that_can_never_fit(installation: Installation) -> None:
    """And says so by its exit code, when all else is trained."""
    installation.enqueue(BIG, SMALL)
    tight(installation, 375)

    assert installation.start_daemon("--until-empty", wait=False).wait(120) == 1

    assert installation.job("big").reason == "memory_never"
    assert installation.job("small").state is JobState.SUCCEEDED
    assert "event=job.cannot_fit" in installation.settings.daemon_log_path.read_text()
    assert "one trainer may hold 375 MiB here" in " ".join(installation.cli("status").split())
    assert installation.start_daemon("--until-empty", wait=False).wait(120) == 1, "a new daemon looks, and ends again"


def test_a_ledger_that_cannot_be_written_lets_a_fitting_job_in(
    ledger: Ledger, feature_dir: Path, tmp_path: Path
) -> None:
    """Memory is watched while it trains; a full disk must not stop the queue here."""
    limit = need(feature_dir).at(64).safe_mib
    with Ledger.open_readonly(tmp_path / "ledger.db") as readonly:
        admission = Admission(PROFILES["linux-cpu"].fitted(limit / 0.8), feature_dir)
        assert admission.admit(readonly, queries.find_job(readonly, "big"), free(50_000.0))


def need(feature_dir: Path) -> Need:
    spec = JobSpec.model_validate({"day": 1, **BIG})
    schema = json.loads((feature_dir / "1w_features.manifest.json").read_text())
    shape = Shape(schema["rows"], len(schema["schema"]) - 2, "the feature cache")
    return Need("feed_forward", spec.params, shape, DENSE.line, 512)


def test_what_fits_only_smaller_starts_smaller_for_good_and_says_so(ledger: Ledger, feature_dir: Path) -> None:
    limit = need(feature_dir).at(128).safe_mib
    admission = Admission(PROFILES["linux-cpu"].fitted(limit / 0.8 + 1), feature_dir)
    for _ in range(3):
        assert admission.admit(ledger, queries.find_job(ledger, "big"), free(50_000.0))
    assert queries.find_job(ledger, "big").micro_batch == 128
    (words,) = words_of(ledger, "big", "micro_batch")
    assert "starts with micro-batch 128" in (words or "")


def test_a_peak_is_learned_from_the_larger_of_two_measures(ledger: Ledger, admission: Admission) -> None:
    job = queries.find_job(ledger, "big")
    admission.learn(ledger, job, 1, Taken("cpu", 512, 450.0, 500.0))
    admission.learn(ledger, job, 2, Taken("cpu", 512, 450.0, None))
    assert [peak.measured_mib for peak in peaks_of(ledger, "torch")] == [500.0, 450.0]


@pytest.mark.parametrize(
    "taken",
    [
        Taken("mps", 512, 450.0, None),
        Taken("cuda", 512, 450.0, 900.0),
        Taken("", None, 450.0, 1.0),
        Taken("cpu", 1, None, None),
    ],
)
def test_what_does_not_measure_the_device_s_memory_teaches_nothing(
    ledger: Ledger, admission: Admission, taken: Taken
) -> None:
    """A resident set on a Mac misses what the GPU holds: learned from, it would let too much in."""
    admission.learn(ledger, queries.find_job(ledger, "big"), 1, taken)
    assert peaks_of(ledger, "torch") == []


def test_peaks_of_another_device_and_older_ones_do_not_count(ledger: Ledger) -> None:
    job_id = queries.find_job(ledger, "big").id

    def store(number: int, device: str, mib: float) -> None:
        store_peak(
            ledger, job_id, number, model="lstm", backend="torch", device=device, micro_batch=1, formula_mib=10.0, measured_mib=mib
        )  # fmt: skip

    store(1, "cpu", 400.0)
    for number in range(2, KEPT_A_KIND + 10):
        store(number, "mps", float(number))
    assert {peak.measured_mib > 2 for peak in peaks_of(ledger, "torch")} == {True}
    assert Peak("lstm", 10.0, 400.0) not in peaks_of(ledger, "torch")
    assert ledger.conn.execute("SELECT COUNT(*) FROM memory_peaks").fetchone()[0] == KEPT_A_KIND
    assert list(peaks_by_backend(ledger)) == ["torch"]


def test_an_attempt_s_own_peak_does_not_sweeten_what_was_expected_of_it(ledger: Ledger) -> None:
    job_id = queries.find_job(ledger, "big").id
    peak = PeakRow(
        job_id=job_id,
        attempt=1,
        model="lstm",
        backend="torch",
        device="cpu",
        micro_batch=32,
        formula_mib=10.0,
        measured_mib=5000.0,
        at=0.0,
    )
    expected = line_for("lstm", "torch", [])
    assert expected_mib(ledger, peak) == expected.base_mib + 10.0 * expected.factor


def tight(installation: Installation, working_set_mib: float) -> None:
    """Let the installation run on a profile of its own with this working set."""
    folder = installation.settings.profiles_dir
    folder.mkdir(parents=True)
    (folder / "tight.toml").write_text(
        f'extends = "linux-cpu"\nworking_set_mib = {working_set_mib}\n[batch_ceilings]\nfeed_forward = 512\n'
    )
    installation.overrides["CBI_PROFILE"] = "tight"


PLAN = """
day: 9
jobs:
  - {name: big, family: simple_neural, model: feed_forward, horizon: 1w,
     params: {epochs: 1, hidden: [8], sequence_length: 64, batch_size: 512}}
"""


def test_a_run_starts_smaller_and_its_peak_stands_beside_the_estimate(
    installation: Installation, feature_dir: Path
) -> None:
    """The whole way: profile of the user's own, estimate, enqueue, real slot, real training, learned peak."""
    tight(installation, round(need(feature_dir).at(128).safe_mib + 1))
    plan = installation.root / "plan.yaml"
    plan.write_text(PLAN)
    (before,) = json.loads(installation.cli("estimate", "--json", str(plan)))["jobs"]
    assert (before["verdict"], before["micro_batch"], before["measured_mib"]) == ("smaller", 128, None)
    installation.cli("enqueue", str(plan))

    installation.start_daemon()
    job = installation.until_state("big", "succeeded", within_s=120)

    assert job.micro_batch == 128
    assert [attempt.outcome for attempt in installation.attempts("big")] == [Outcome.SUCCESS]
    assert (installation.attempts("big")[0].settings or {})["profile"] == "tight"
    (after,) = json.loads(installation.cli("estimate", "--json", str(plan)))["jobs"]
    assert after["measured_micro_batch"] == 128
    assert 100 < after["measured_mib"] < 4000
    assert " at its peak" in installation.cli("show", "big")


def test_a_plan_whose_job_can_never_fit_is_refused_with_the_figures(installation: Installation) -> None:
    tight(installation, 300)
    plan = installation.root / "plan.yaml"
    plan.write_text(PLAN)
    for verb in (["plan", "check"], ["enqueue"]):
        said = " ".join(installation.cli(*verb, str(plan), code=2).split())
        assert "plan.yaml:4: jobs[0]: needs about" in said
        assert "even with micro-batch 1; one trainer may hold 300 MiB here (tight; 5031 rows" in said
    table = installation.cli("estimate", str(plan), code=2)
    assert "cannot fit" in table
    assert "Hardware profile tight (as set): one trainer may use 300 MiB" in table
