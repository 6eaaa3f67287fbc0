"""Records a training of its own with slow-downs put on it, in the form of tests/traces: `python -m benchmarks.record_traces`.

A child trains a small torch net on one thread and writes a line an epoch; this process slows it from outside, by
stopping it for a share of every 20 ms (`throttle`, as a hot chip does) or by busy processes on every core
(`contention`), at moments drawn with a seed. The load of the machine just before is in the header; from the second trace on it is
mostly the training before.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SLICE_S = 0.020
MODELS: dict[str, tuple[int, int]] = {"lstm": (160, 4800), "gru": (160, 3600), "ffn": (400, 4800)}
"""Model -> epochs, samples an epoch: epochs of a tenth of a second and slow-downs of two seconds at the least."""
SCENARIOS: dict[str, tuple[str, ...]] = {
    "quiet": (),
    "throttle": ("throttle",),
    "throttle-twice": ("throttle", "throttle"),
    "contention": ("contention",),
}
FACTORS = {"throttle": (1.3, 1.5, 2.0), "contention": (1, 2)}
"""Cause -> factors to draw from: wall time over running time, and busy processes a core."""
TRAINING = """
import json, sys, time
import torch
kind, epochs, samples = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(1); torch.manual_seed(0)
nets = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}
body = nets[kind](8, 24, batch_first=True) if kind in nets else torch.nn.Sequential(torch.nn.Linear(64, 512), torch.nn.ReLU())
head = torch.nn.Linear(24 if kind in nets else 512, 1)
x = torch.randn(samples, 20, 8) if kind in nets else torch.randn(samples, 64)
y = torch.randn(samples, 1)
opt = torch.optim.Adam([*body.parameters(), *head.parameters()])
for epoch in range(epochs):
    began = time.monotonic()
    for i in range(0, samples, 32):
        out = body(x[i : i + 32])
        loss = torch.nn.functional.mse_loss(head(out[0][:, -1] if kind in nets else out), y[i : i + 32])
        opt.zero_grad(); loss.backward(); opt.step()
    print(json.dumps([began, time.monotonic()]), flush=True)
"""
"""What the child runs; its arguments are the model, the epochs and the samples an epoch."""


@contextmanager
def slowed(child: int, cause: str, factor: float) -> Iterator[None]:
    """Slow the process *child* while inside."""
    stop = multiprocessing.Event()
    work: list[tuple[Any, tuple[Any, ...]]] = [(_throttle, (child, factor, stop))]
    if cause == "contention":
        work = [(_busy, (stop,))] * (int(factor) * (os.cpu_count() or 1))
    helpers = [multiprocessing.Process(target=target, args=args, daemon=True) for target, args in work]
    for helper in helpers:
        helper.start()
    try:
        yield
    finally:
        stop.set()
        for helper in helpers:
            helper.join()


def _throttle(child: int, factor: float, stop: Any) -> None:
    while not stop.is_set():
        os.kill(child, signal.SIGSTOP)
        time.sleep(SLICE_S * (1.0 - 1.0 / factor))
        os.kill(child, signal.SIGCONT)
        time.sleep(SLICE_S / factor)


def _busy(stop: Any) -> None:
    while not stop.is_set():
        sum(range(10_000))


def record(model: str, scenario: str, seed: int) -> list[dict[str, Any]]:
    """Train once and return the lines of the trace: the header, then the epochs."""
    chance = random.Random(seed)
    epochs, samples = MODELS[model]
    causes = SCENARIOS[scenario]
    length = epochs // (8 * max(1, len(causes)))
    plan = {
        int(epochs * (i + 1 + chance.uniform(-0.2, 0.2)) / (len(causes) + 1)): (cause, chance.choice(FACTORS[cause]))
        for i, cause in enumerate(causes)
    }
    load = os.getloadavg()[0]
    times: list[tuple[float, float]] = []
    spans: list[tuple[float, float, str, float]] = []
    command = [sys.executable, "-c", TRAINING, model, str(epochs), str(samples)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:

        def train(count: int) -> None:
            assert child.stdout is not None
            times.extend(tuple(json.loads(child.stdout.readline())) for _ in range(count))

        for start, (cause, factor) in plan.items():
            train(start - len(times))
            with slowed(child.pid, cause, factor):
                began = time.monotonic()
                train(length)
                spans.append((began, time.monotonic(), cause, factor))
        train(epochs - len(times))
    name = f"{model}-{scenario}-{seed}"
    header = {"trace": f"{name}.jsonl", "scenario": scenario, "model": f"{model}-own", "epochs": epochs}
    first = times[0][0]
    return [
        header | {"cpus": os.cpu_count(), "load": round(load, 2)},
        *(_epoch(i, one, first, samples, spans) for i, one in enumerate(times)),
    ]


def _epoch(
    number: int,
    times: tuple[float, float],
    first: float,
    samples: int,
    spans: Sequence[tuple[float, float, str, float]],
) -> dict[str, Any]:
    began, ended = times
    line: dict[str, Any] = {"epoch": number, "t_s": round(began - first, 4), "wall_s": round(ended - began, 5)}
    line |= {"samples": samples, "micro_batch": 32, "slow": 0.0, "factor": None, "cause": None}
    for start, stop, cause, factor in spans:
        share = (min(ended, stop) - max(began, start)) / (ended - began)
        if share > 0.0:
            line |= {"slow": round(share, 3), "factor": factor, "cause": cause}
    return line


def main() -> int:
    """Record every model in every scenario."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=1)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for seed in range(arguments.seeds):
        for model in MODELS:
            for scenario in SCENARIOS:
                header, *epochs = record(model, scenario, seed)
                lines = "".join(json.dumps(line) + "\n" for line in (header, *epochs))
                (arguments.folder / header["trace"]).write_text(lines, encoding="utf-8")
                print(header, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
