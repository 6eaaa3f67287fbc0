"""Why work is slow: clues and doubts, missing figures, and when to ask for a probe."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cbi_queue.governor.diagnosis.attribution import attribute, wants_probe
from cbi_queue.governor.diagnosis.clues import nothing_explains
from cbi_queue.governor.diagnosis.diagnosis import Diagnosis
from cbi_queue.governor.diagnosis.evidence import Evidence, EvidenceWindow
from cbi_queue.governor.values import Attribution, Baseline, Cause, Slowdown, Work
from cbi_queue.readings.values import (
    ContentionReading,
    FootprintReading,
    GpuReading,
    HeatLevel,
    MemoryReading,
    PowerReading,
    PressureLevel,
    Readings,
    SleepReading,
    ThermalReading,
)

SLOW = Slowdown(since_epoch=10, detected_epoch=12, factor=1.5, confidence=0.8, since_s=100.0)


def cause_of(**figures):
    return attribute(SLOW, Evidence(factor=1.5, **figures))


@pytest.mark.parametrize(
    ("cause", "figures"),
    [
        (Cause.HEAT, {"throttled": True}),
        (Cause.HEAT, {"gpu_heat_reasons": ("hw_thermal_slowdown",)}),
        (Cause.HEAT, {"temp_c": 103.0, "limit_c": 105.0}),
        (Cause.HEAT, {"heat_level": HeatLevel.HEAVY, "cpu_ratio": 1.5}),
        (Cause.HEAT, {"gpu_clock_ratio": 0.7}),
        (Cause.HEAT, {"cpu_ratio": 1.5, "probe_ratio": 1.4, "others_cores": 0.1}),
        (Cause.MEMORY, {"pressure_level": PressureLevel.CRITICAL}),
        (Cause.MEMORY, {"memory_stall_share": 0.4, "cpu_ratio": 1.0, "others_cores": 0.1}),
        (Cause.MEMORY, {"swap_out_mib_s": 25.0}),
        (Cause.CONTENTION, {"others_cores": 1.8, "others_cores_before": 0.1, "cpu_ratio": 1.02}),
        (Cause.CONTENTION, {"others_cores": 1.9, "cores": 2, "cpu_stall_share": 0.6}),
        (  # as crowded as before, but now the trainer is crowded out
            Cause.CONTENTION,
            {
                "others_cores": 1.8,
                "others_cores_before": 1.7,
                "cores": 2,
                "cpu_ratio": 1.07,
                "cpu_stall_share": 0.98,
                "cpu_stall_share_before": 0.95,
                "trainer_cores": 0.2,
                "trainer_cores_before": 0.9,
            },
        ),
        (Cause.SERVICE_CLASS, {"trainer_stopped": True}),
        (Cause.SERVICE_CLASS, {"demoted": True, "service_class": "background"}),
        (Cause.SERVICE_CLASS, {"low_power_mode": True, "cpu_ratio": 1.5, "others_cores": 0.1, "probe_ratio": 1.5}),
        (Cause.SERVICE_CLASS, {"cpu_ratio": 1.0, "others_cores": 0.1, "trainer_cores": 0.5}),
        (Cause.SLEEP, {"slept_s": 60.0, "slow_s": 100.0}),
        (Cause.DATA, {"data_growth": 0.9, "probe_ratio": 1.0}),
    ],
)
def test_each_cause_is_found_by_its_figures_with_reasons(cause, figures):
    found = cause_of(**figures)
    assert found.cause is cause
    assert found.confidence >= 0.3
    assert found.evidence


@pytest.mark.parametrize(
    "figures",
    [
        {},
        {"cpu_ratio": 1.5},  # slower, but what others use is not known
        {"probe_ratio": 1.5},
        {"heat_level": HeatLevel.NOMINAL, "temp_c": 60.0, "throttled": False},
        {"cpu_ratio": 1.0},
        {"probe_ratio": 1.0, "others_cores": 0.1},
        {"others_cores": 0.7, "others_cores_before": 0.7, "cores": 10},  # as busy as before
        # it gets less of the processor, but cores are idle: something unseen keeps it waiting
        {
            "others_cores": 0.7,
            "others_cores_before": 0.7,
            "cores": 10,
            "cpu_ratio": 1.0,
            "trainer_cores": 0.3,
            "trainer_cores_before": 0.9,
        },
        {"cpu_ratio": 1.0, "heat_level": HeatLevel.MODERATE},  # warm, but kept waiting by something unseen
    ],
)
def test_without_evidence_the_cause_is_unknown_and_never_heat(figures):
    found = cause_of(**figures)
    assert found.cause is Cause.UNKNOWN
    assert found.confidence == 0.0
    assert found.evidence


def test_a_normal_probe_says_that_it_is_the_work_and_not_the_machine():
    found = cause_of(probe_ratio=1.01, cpu_ratio=1.5, others_cores=0.1)
    assert found.cause is Cause.UNKNOWN
    assert "this model or its data, not the machine" in found.evidence[0]


@pytest.mark.parametrize(("factor", "probe", "cause"), [(2.6, 1.17, Cause.UNKNOWN), (1.3, 1.17, Cause.HEAT)])
def test_a_probe_shows_how_much_of_it_is_the_machine(factor, probe, cause):
    """On a machine that needs 1.17 times as long, heat explains 1.3 times and not 2.6; a sensor is doubted, too."""
    quiet = {"cpu_ratio": factor, "probe_ratio": probe, "others_cores": 0.1}
    found = attribute(replace(SLOW, factor=factor), Evidence(factor=factor, **quiet))
    assert (found.cause, found.is_sure) == (cause, cause is Cause.HEAT)
    warm = attribute(replace(SLOW, factor=factor), Evidence(factor=factor, **quiet, heat_level=HeatLevel.MODERATE))
    assert warm.is_sure is (cause is Cause.HEAT)
    assert nothing_explains(Evidence(factor=factor, **quiet)) is (cause is Cause.UNKNOWN)
    for doubtful in ({"others_cores": None}, {"others_cores": 0.5}, {"heat_level": HeatLevel.MODERATE}):
        assert not nothing_explains(Evidence(factor=factor, **quiet | doubtful))


def test_a_slow_machine_without_a_heat_reading_is_less_surely_hot():
    """Chips slow silently; but a guess must not weigh like a throttle counter."""
    guessed = cause_of(cpu_ratio=1.5, probe_ratio=1.4, others_cores=0.1)
    counted = cause_of(cpu_ratio=1.5, probe_ratio=1.4, others_cores=0.1, throttled=True)
    assert guessed.confidence < counted.confidence
    assert cause_of(cpu_ratio=1.5, others_cores=0.1).confidence < 0.6


def test_conflicting_evidence_lowers_the_confidence():
    hot = {"throttled": True}
    crowded = {"others_cores": 1.9, "others_cores_before": 0.0, "cpu_stall_share": 0.5}
    assert cause_of(**hot, **crowded).confidence < cause_of(**hot).confidence


def test_waiting_speaks_against_heat():
    """A processor that needs no more time a sample was not slowed."""
    hot = {"heat_level": HeatLevel.HEAVY}
    waiting = cause_of(**hot, cpu_ratio=1.0, others_cores=1.9, others_cores_before=0.1)
    assert waiting.cause is Cause.CONTENTION
    assert cause_of(**hot, cpu_ratio=1.5).cause is Cause.HEAT


def test_the_strongest_reason_comes_first_and_doubts_last():
    found = cause_of(heat_level=HeatLevel.HEAVY, throttled=True, temp_c=104.0, limit_c=105.0, cpu_ratio=1.0)
    assert found.evidence[0] == "the hardware reports that it throttled because of heat"
    assert found.evidence[-1].startswith("but the processor itself is not slower: a sample takes 1.00 times")


def test_only_known_figures_are_kept():
    found = cause_of(others_cores=1.25, throttled=False)
    assert found.figures == {"factor": 1.5, "others_cores": 1.25, "throttled": 0.0}


# --- the window


def quiet(at_s, **kinds):
    return Readings(
        **{**{f: getattr(Readings.unknown("off", at_s), f) for f in Readings.__dataclass_fields__}, **kinds}
    )


def work(epoch, wall_s, cpu_s=None, **more):
    return Work(epoch, epoch * 10.0 + wall_s, wall_s, 1000, 32, cpu_s=cpu_s, **more)


def test_a_window_that_saw_nothing_knows_nothing():
    evidence = EvidenceWindow().evidence(SLOW)
    assert evidence == Evidence(factor=1.5, slow_s=0.0)
    assert attribute(SLOW, evidence).cause is Cause.UNKNOWN


def test_unknown_readings_stay_unknown():
    window = EvidenceWindow()
    for second in range(200):
        window.add_readings(second, Readings.unknown("the sensor hangs", second))
    assert window.evidence(SLOW) == Evidence(factor=1.5, slow_s=99.0)


def test_figures_before_and_during_are_told_apart():
    window = EvidenceWindow()
    for second in range(200):
        slow = second >= 100
        window.add_readings(
            second,
            quiet(
                second,
                contention=ContentionReading(second, "x", cores=2, others_cores=1.9 if slow else 0.1, stall_share=0.5),
                gpu=GpuReading(
                    second, "x", clock_mhz=900 if slow else 1500, throttle_reasons=("sw_thermal_slowdown", "gpu_idle")
                ),
                sleep=SleepReading(second, "x", slept_s=30.0 if second >= 190 else 0.0),
                thermal=ThermalReading(second, "x", level=HeatLevel.HEAVY, temp_c=90.0, limit_c=100.0),
                memory=MemoryReading(second, "x", level=PressureLevel.WARN, swap_out_mib_s=2.0, stall_share=0.2),
                power=PowerReading(second, "x", low_power_mode=False, service_class="standard", demoted=False),
                footprint=FootprintReading(second, "x", footprint_mib=100.0 + second),
            ),
        )
    for epoch in range(20):
        window.add_work(work(epoch, 1.5, 1.3, data_s=0.3) if epoch >= 10 else work(epoch, 1.0, 0.9, data_s=0.1))
    window.add_probe(150.0, 0.3, 0.2)

    seen = window.evidence(SLOW)

    assert (seen.others_cores, seen.others_cores_before) == (1.9, 0.1)
    assert seen.cpu_ratio == pytest.approx(1.3 / 0.9)
    assert seen.slower_share == pytest.approx((1.3 / 0.9 - 1.0) / 0.5)
    assert (seen.trainer_cores, seen.trainer_cores_before) == pytest.approx((1.3 / 1.5, 0.9))
    assert seen.data_growth == pytest.approx(0.4)
    assert seen.gpu_clock_ratio == pytest.approx(0.6)
    assert seen.gpu_heat_reasons == ("sw_thermal_slowdown",)
    assert (seen.slept_s, seen.slow_s) == (30.0, 99.0)
    assert seen.probe_ratio == pytest.approx(1.5)
    assert (seen.heat_level, seen.temp_c, seen.limit_c) == (HeatLevel.HEAVY, 90.0, 100.0)
    assert (seen.pressure_level, seen.swap_out_mib_s, seen.memory_stall_share) == (PressureLevel.WARN, 2.0, 0.2)
    assert (seen.low_power_mode, seen.service_class, seen.demoted) == (False, "standard", False)
    assert seen.footprint_growth_mib == pytest.approx(31.0 / 9.0)


def test_what_was_before_is_remembered_through_a_long_slowdown():
    window = EvidenceWindow()
    for second in range(100):
        window.add_readings(second, quiet(second, contention=ContentionReading(second, "x", others_cores=0.1)))
    for second in range(100, 2000):
        window.add_readings(second, quiet(second, contention=ContentionReading(second, "x", others_cores=1.5)))
        seen = window.evidence(SLOW)
    assert (seen.others_cores, seen.others_cores_before) == (1.5, 0.1)


@pytest.mark.parametrize(("first_s", "before"), [(98.0, None), (20.0, 1.7)])
def test_programs_that_are_there_from_the_first_epoch_are_the_cause_of_its_slowness(first_s, before):
    """What was read before the first report is the same crowd, not the quiet machine of the cold baseline."""
    window = EvidenceWindow()
    for second in range(130):
        crowd = ContentionReading(second, "x", cores=2, others_cores=1.7, stall_share=0.99)
        window.add_readings(second, quiet(second, contention=crowd))
    for number in range(20):
        window.add_work(Work(number, first_s + 2.0 * number, 1.5, 1000, 32, cpu_s=0.9))

    seen = window.evidence(SLOW, Baseline(0.001, 0.01, 50, cpu_per_sample=0.0009))
    found = attribute(SLOW, seen)

    assert seen.others_cores_before == before
    assert found.cause is (Cause.CONTENTION if before is None else Cause.UNKNOWN)
    if before is None:
        assert found.is_sure
        assert "programs waited for a processor 99% of the time" in found.evidence
        assert "other programs use 1.7 of 2 cores" in found.evidence


def test_slowness_that_shows_only_in_hindsight_has_its_cause_from_what_was_read_then():
    """A first run on a busy machine: nothing to compare with until the others leave."""
    diagnosis, at_s = Diagnosis({}), 0.0
    for epoch in range(60):
        crowded = epoch < 30
        at_s += (wall_s := 2.0 if crowded else 1.0)
        diagnosis.record_work(Work(epoch, at_s, wall_s, 1000, 32, cpu_s=0.9))
        crowd = ContentionReading(at_s, "x", cores=2, others_cores=1.8 if crowded else 0.0, stall_share=0.9)
        diagnosis.check(at_s, quiet(at_s, contention=crowd))

    over = diagnosis.ended_slowdown
    assert over is not None
    assert over.detected_epoch > over.ended_epoch
    assert diagnosis.ended_attribution.cause is Cause.CONTENTION
    assert "other programs use 1.8 of 2 cores" in diagnosis.ended_attribution.evidence


def test_a_run_that_starts_slow_is_compared_with_the_stored_processor_time():
    window = EvidenceWindow()
    for epoch in range(11, 20):
        window.add_work(work(epoch, 1.5, 1.4))
    seen = window.evidence(SLOW, Baseline(0.001, 0.01, 50, cpu_per_sample=0.0009))
    assert seen.cpu_ratio == pytest.approx(1.4 / 0.9)


def test_processor_time_says_nothing_when_an_accelerator_does_the_work():
    """A hot GPU would otherwise look like a trainer that waits for its processor."""
    window = EvidenceWindow()
    for epoch in range(20):
        window.add_work(work(epoch, 1.5 if epoch >= 10 else 1.0, 0.1))
    assert window.evidence(SLOW).cpu_ratio is None


def test_disturbed_work_is_no_evidence():
    window = EvidenceWindow()
    for epoch in range(20):
        window.add_work(work(epoch, 1.0, 0.9, disturbed=epoch >= 10))
    assert window.evidence(SLOW).cpu_ratio is None


def test_a_probe_from_before_the_slowdown_says_nothing_of_it():
    window = EvidenceWindow()
    window.add_probe(99.0, 0.4, 0.2)
    assert window.evidence(SLOW).probe_ratio is None
    assert window.probed_at_s == 99.0


@pytest.mark.parametrize(("wall_s", "cold_s", "ratio"), [(0.3, 0.2, 1.5), (0.3, None, None), (0.1, 0.2, 1.0)])
def test_a_probe_is_held_against_the_cold_time_that_came_with_it(wall_s, cold_s, ratio):
    """A faster one than any before was cold itself; where no cold time is known, nothing is."""
    window = EvidenceWindow()
    window.add_probe(140.0, 0.8, 0.2)
    window.add_probe(150.0, wall_s, cold_s)
    assert window.evidence(SLOW).probe_ratio == (None if ratio is None else pytest.approx(ratio))


# --- asking for a probe


@pytest.mark.parametrize(
    ("confidence", "cause", "sureness", "probed_at_s", "wanted"),
    [
        (0.8, Cause.UNKNOWN, 0.0, None, True),
        (0.8, Cause.HEAT, 0.4, None, True),
        (0.8, Cause.HEAT, 0.9, None, False),
        (0.2, Cause.UNKNOWN, 0.0, None, False),
        (0.8, Cause.UNKNOWN, 0.0, 150.0, False),
        (0.8, Cause.UNKNOWN, 0.0, 99.0, True),  # before the slow-down began: it shows nothing of it
        (0.8, Cause.UNKNOWN, 0.0, 60.0, True),
        (0.8, Cause.UNKNOWN, 0.0, 195.0, False),
    ],
)
def test_a_probe_is_wanted_for_an_unclear_cause_once_in_a_while(confidence, cause, sureness, probed_at_s, wanted):
    """Each probe takes about a second from the training."""
    slowdown = Slowdown(10, 12, 1.5, confidence, since_s=100.0)
    assert wants_probe(slowdown, Attribution(cause, sureness), 200.0, probed_at_s) is wanted


def test_a_hot_gpu_is_told_though_the_processor_only_waits_for_it():
    found = cause_of(gpu_heat_reasons=("hw_thermal_slowdown",), cpu_ratio=1.0, probe_ratio=1.5, others_cores=0.1)
    assert found.cause is Cause.HEAT


def test_a_probe_is_asked_for_again_when_the_cause_stays_unclear():
    assert wants_probe(SLOW, None, 300.0, 150.0)
