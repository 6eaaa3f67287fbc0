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
from jobs.torch_backend.compiler import spare_the_compiler
from jobs.torch_backend.device import compute_repeatably

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


@pytest.mark.parametrize("asked", ["from torch._dynamo.utils import counters", ""])
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
import torch._dynamo.config
from torch._dynamo import convert_frame, utils
one = [torch._dynamo is sys.modules["torch._dynamo"], torch._dynamo.config is torch._dynamo.eval_frame.config,
       torch._dynamo.config is sys.modules["torch._dynamo.config"], convert_frame.counters is utils.counters]
print(json.dumps([len(graphs), type(torch._dynamo).__name__, one]))
"""

    compiled, kind, are_one = run(script)

    assert compiled >= 1
    assert (kind, are_one) == ("module", [True] * 4)


def test_what_will_be_asked_for_is_loaded_when_told_to() -> None:
    """Gradient checkpointing asks in its first step, and two seconds of import would spoil what an epoch costs."""
    script = """
from jobs.torch_backend.compiler import load_the_compiler
spare_the_compiler()
load_the_compiler()
loaded = is_loaded()
spare_the_compiler()
print(json.dumps([loaded, type(torch._dynamo).__name__]))
"""

    assert run(script) == [True, "module"]


def test_what_is_not_to_be_compiled_is_left_as_it_is() -> None:
    """Libraries write it in three ways, and torch itself in two."""
    script = """
spare_the_compiler()
import torch._dynamo
def double(x): return 2 * x
made = [torch.compiler.disable(double), torch.compiler.disable()(double), torch.compiler.disable(recursive=False)(double),
        torch._dynamo.disable(double, recursive=False), torch._dynamo.disable(recursive=False)(double)]
print(json.dumps([[function(21) for function in made], is_loaded()]))
"""

    assert run(script) == [[42] * 5, False]
