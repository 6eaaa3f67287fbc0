"""NVML: what a device says, what it does not tell, and what becomes of it when it falls off the bus."""

from __future__ import annotations

import pytest
from support.sensor_samples import FakeNvml

from cbi_queue.process_identity import ProcessIdentity
from cbi_queue.readings.values import GpuReading, ThermalReading, Unknown
from workers.sensors.nvidia_gpu.nvml import NOT_AVAILABLE, reason_names
from workers.sensors.nvidia_gpu.sensors import NO_DRIVER, Nvidia, NvidiaHeat, chosen_device


@pytest.fixture
def lib():
    return FakeNvml()


def test_a_device_tells_heat_clocks_use_and_memory(lib):
    lib.reasons = 0x20 | 0x4 | 0x1
    assert Nvidia(lib, {}).read(3.0) == GpuReading(
        3.0, "NVML", busy_share=0.93, clock_mhz=1410, max_clock_mhz=1980, temp_c=71.0,
        throttle_reasons=("sw_power_cap", "sw_thermal_slowdown"), memory_used_mib=10240, memory_total_mib=81920,
        others_mib=0,
    )  # fmt: skip


def test_being_idle_holds_nothing_back():
    assert reason_names(0x1) == ()
    assert reason_names(0x40 | 0x80) == ("hw_thermal_slowdown", "hw_power_brake_slowdown")


@pytest.mark.parametrize(
    ("reasons", "throttled"), [(0x20, True), (0x40, True), (0x4, False), (0x8, False), (0x1, False)]
)
def test_heat_is_throttling_only_for_a_thermal_reason(lib, reasons, throttled):
    """A power cap slows as well, and pausing would not help."""
    lib.reasons = reasons
    assert NvidiaHeat(lib, {}).read(3.0) == ThermalReading(3.0, "NVML", temp_c=71.0, limit_c=90, throttled=throttled)


def test_what_the_device_does_not_support_is_left_out(lib):
    lib.codes = {"nvmlDeviceGetUtilizationRates": 3, "nvmlDeviceGetClockInfo": 3, "nvmlDeviceGetTemperature": 4}
    reading = Nvidia(lib, {}).read(3.0)
    assert (reading.busy_share, reading.clock_mhz, reading.temp_c) == (None, None, None)
    assert reading.max_clock_mhz == 1980


def test_a_device_that_tells_no_heat_is_unknown(lib):
    lib.codes = {"nvmlDeviceGetTemperature": 3, "nvmlDeviceGetCurrentClocksThrottleReasons": 3}
    assert isinstance(NvidiaHeat(lib, {}).read(3.0), Unknown)


class Tree:
    """A platform whose trainer is process 700 with a child 701."""

    def members(self, _root):
        """Return the tree."""
        return (700, 701)


def test_who_else_holds_memory_is_told_by_name_and_the_trainer_is_not(lib):
    lib.processes = {
        700: ("/usr/bin/python3", 6 * 2**30), 701: ("/usr/bin/python3", 2**30),
        11: ("/opt/blender/blender", 9 * 2**30), 12: ("Xwayland", 40 * 2**20),
    }  # fmt: skip
    sensor = Nvidia(lib, {}, Tree())
    sensor.watch(ProcessIdentity(700, 1.0))
    seen = sensor.read(3.0)
    assert seen.others == ("blender (process 11): 9.0 GiB", "Xwayland (process 12): 40 MiB")
    assert seen.others_mib == 9 * 1024 + 40

    sensor.watch(None)
    assert len(sensor.read(4.0).others) == 4, "without a trainer all are others"


def test_what_a_process_holds_may_be_unknown_and_is_never_taken_for_nothing(lib):
    lib.processes = {11: ("", NOT_AVAILABLE), 12: ("a", 2**20)}
    seen = Nvidia(lib, {}).read(3.0)
    assert seen.others_mib is None
    assert seen.others == ("a (process 12): 1 MiB", "a program (process 11): an unknown part")


def test_many_processes_are_all_counted(lib):
    lib.processes = dict.fromkeys(range(1, 301), ("x", 2**20))
    assert Nvidia(lib, {}).read(3.0).others_mib == 300


@pytest.mark.parametrize("code", [3, 4])
def test_a_driver_that_does_not_tell_who_holds_memory_leaves_it_open(lib, code):
    lib.codes = {"nvmlDeviceGetComputeRunningProcesses_v3": code}
    seen = Nvidia(lib, {}).read(3.0)
    assert (seen.others, seen.others_mib, seen.temp_c) == ((), None, 71.0)


def test_a_lost_device_is_unknown_and_found_again_in_a_new_session(lib):
    sensor = Nvidia(lib, {})
    sensor.read(1.0)
    lib.codes = {"nvmlDeviceGetMemoryInfo": 15}
    lost = sensor.read(2.0)
    lib.codes = {}
    back = sensor.read(3.0)

    assert lost == Unknown("nvmlDeviceGetMemoryInfo: GPU is lost", 2.0)
    assert isinstance(back, GpuReading)
    sensor.close()
    sensor.close()
    assert lib.sessions == 0


def test_a_refusing_driver_is_unknown_with_its_own_words(lib):
    lib.codes = {"nvmlInit_v2": 9}
    assert Nvidia(lib, {}).read(1.0).why == "nvmlInit_v2: Driver Not Loaded"


def test_an_unbelievable_temperature_is_left_out(lib):
    lib.temp_c = 255
    assert Nvidia(lib, {}).read(1.0).temp_c is None


def test_without_the_library_there_is_no_driver():
    class Missing(FakeNvml):
        def __getattr__(self, name):
            raise OSError("libnvidia-ml.so.1: cannot open shared object file")

    assert Nvidia(Missing(), {}).read(1.0) == Unknown(NO_DRIVER, 1.0)


@pytest.mark.parametrize(
    ("visible", "device"),
    [(None, "0"), ("2,0", "2"), ("GPU-8f6a", "GPU-8f6a"), ("", None), ("-1", None), (" 1 ", "1")],
)
def test_the_device_is_the_first_that_cuda_shows(visible, device):
    environ = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert chosen_device(environ) == device
    if device is None:
        assert isinstance(Nvidia(FakeNvml(), environ).read(1.0), Unknown)
