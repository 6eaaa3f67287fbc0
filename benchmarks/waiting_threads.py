"""Whether a net's threads wait for each other in the right way: steps in a trainer's environment, alone and in company.

OpenMP's threads meet many times in one training step. Threads that sleep at each meeting cost the net a system call each;
threads that spin take the core from any program beside them. Measured: steps of an LSTM in a process with the environment
of `workers.trainer.environment`, against the same where threads sleep at once, and against one thread.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from benchmarks.measuring import Line, Target, in_ms, ratios
from workers.trainer.environment import trainer_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

THREADS = 2
STEPS = 100
SLEEP_AT_ONCE = {"GOMP_SPINCOUNT": "0"}
MOST_ALONE, MOST_BESIDE = 0.8, 2.0
STEP = """
import sys, time, torch
torch.set_num_threads(int(sys.argv[2]))
torch.manual_seed(7)
net = torch.nn.LSTM(152, 128, batch_first=True)
inputs, optimiser = torch.randn(64, 60, 152), torch.optim.AdamW(net.parameters())
def step():
    optimiser.zero_grad()
    net(inputs)[0][:, -1].square().mean().backward()
    optimiser.step()
step()
begun = time.perf_counter()
for _ in range(int(sys.argv[1])):
    step()
print((time.perf_counter() - begun) / int(sys.argv[1]))
"""


def lines(rounds: int) -> list[Line]:
    """Measure *rounds* rounds, each way in turn."""
    found = []
    for where, most in (("alone", MOST_ALONE), ("beside a program that takes a core", MOST_BESIDE)):
        with _company(is_wanted=where != "alone"):
            taken = [(_step_s(THREADS), _step_s(THREADS, SLEEP_AT_ONCE), _step_s(1)) for _ in range(rounds)]
        ours, asleep, single = zip(*taken, strict=True)
        note = f"a step {in_ms(ours)}, asleep at once {in_ms(asleep)}, with one thread {in_ms(single)}"
        name = f"steps of an LSTM, 2 threads, {where} / the same when threads sleep at once"
        found.append(Line(name, "x", ratios(ours, asleep), Target(most), note))
    return found


def _step_s(threads: int, more: dict[str, str] | None = None) -> float:
    environ = {**trainer_environment(threads), **(more or {})}
    command = [sys.executable, "-c", STEP, str(STEPS), str(threads)]
    return float(subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout)


@contextmanager
def _company(*, is_wanted: bool) -> Iterator[None]:
    if not is_wanted:
        yield
        return
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        try:
            yield
        finally:
            busy.kill()
