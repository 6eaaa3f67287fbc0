"""The stand-in for torch's compiler: as good as the real one while nothing is compiled, and gone when it is asked for."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

TRAIN = """
import json, sys
import torch
from jobs.torch_compiler import spare_the_compiler
from jobs.torch_device import compute_repeatably

def is_loaded():
    return "sympy" in sys.modules

def train(net):
    optimiser = torch.optim.AdamW(net.parameters(), lr=0.1)
    for _ in range(3):
        optimiser.zero_grad()
        net(torch.linspace(0, 1, 6).reshape(2, 3)).square().sum().backward()
        optimiser.step()
    optimiser.load_state_dict(optimiser.state_dict())
    return [value.hex() for weights in net.parameters() for value in weights.flatten().tolist()]

compute_repeatably(1)
torch.manual_seed(7)
net = torch.nn.Linear(3, 1)
"""


def run(script: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", TRAIN + script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_training_ends_with_the_same_bits_and_loads_nothing() -> None:
    spared = run("spare_the_compiler(); print(json.dumps([train(net), is_loaded()]))")
    plain = run("print(json.dumps([train(net), is_loaded()]))")

    assert plain[1], "torch spares it by itself: the stand-in can go"
    assert spared == [plain[0], False]


@pytest.mark.parametrize("asked", ["import torch._dynamo.config", ""])
def test_who_asks_for_the_compiler_gets_it(asked: str) -> None:
    """A later family may compile its net, and transformers look into it."""
    script = f"""
spare_the_compiler()
train(net)
assert not is_loaded()
{asked}
graphs = []
def count(graph, _):
    graphs.append(graph)
    return graph.forward
weights = train(torch.compile(net, backend=count))
print(json.dumps([len(graphs), type(torch._dynamo).__name__, torch._dynamo is sys.modules["torch._dynamo"]]))
"""

    compiled, kind, is_one = run(script)

    assert compiled >= 1
    assert (kind, is_one) == ("module", True)
