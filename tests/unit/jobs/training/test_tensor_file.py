"""`jobs.training.tensor_file`: what it writes, the safetensors library reads back to the bit; it takes no memory of its size."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from jobs.training.tensor_file import pieces_of

if TYPE_CHECKING:
    from pathlib import Path

NUMBERS = [f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)]
TYPES = ["bool", *NUMBERS, "float16", "float32", "float64", "complex64"]
ANY_ARRAY = st.sampled_from(TYPES).flatmap(
    lambda kind: arrays_of.arrays(kind, arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
)


def written(arrays: dict[str, np.ndarray]) -> bytes:
    return b"".join(pieces_of(arrays, {"checkpoint": "{}"}))


def is_same(one: np.ndarray, other: np.ndarray) -> bool:
    return (one.dtype.newbyteorder("="), one.shape) == (other.dtype, other.shape) and (
        one.astype(other.dtype).tobytes() == other.tobytes()
    )


@settings(max_examples=200, deadline=None)
@given(arrays=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), ANY_ARRAY, max_size=6))
def test_the_library_reads_back_what_was_written(arrays: dict[str, np.ndarray]) -> None:
    arrays.pop("__metadata__", None)
    found = safetensors.numpy.load(written(arrays))
    assert found.keys() == arrays.keys()
    assert all(is_same(array, found[name]) for name, array in arrays.items())


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_and_layout_comes_back(kind: str) -> None:
    whole = np.arange(24).reshape(4, 6).astype(kind)
    arrays = {
        "whole": whole,
        "turned": whole.T,
        "every other": whole[:, ::2],
        "backwards": whole[::-1],
        "fortran": np.asfortranarray(whole),
        "big-endian": whole.astype(whole.dtype.newbyteorder(">")),
        "one number": np.array(1).astype(kind),
        "empty": whole[:0],
        "read-only": np.frombuffer(whole.tobytes(), kind),
    }
    found = safetensors.numpy.load(written(arrays))
    assert {name for name, array in arrays.items() if not is_same(array, found[name])} == set()


def test_arrays_are_aligned_to_their_items() -> None:
    content = written({"a": np.ones(3, np.uint8), "b": np.ones(3, np.float64), "c": np.ones(3, np.float16)})
    assert int.from_bytes(content[:8], "little") % 8 == 0
    assert content.index(np.ones(3, np.float64).tobytes()) % 8 == 0
    assert content.index(np.ones(3, np.float16).tobytes()) % 2 == 0


def test_a_contiguous_array_is_not_copied() -> None:
    array = np.ones((3, 4), np.float32)
    _, piece = pieces_of({"a": array}, {})
    assert np.shares_memory(np.frombuffer(piece, np.float32), array)


def test_a_type_that_cannot_be_read_back_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match=r"array 'a' is of type complex128; a tensor file can hold bool, "):
        written({"a": np.ones(2, np.complex128)})


HARD_UP = """
import resource, sys
from pathlib import Path
import numpy as np
from jobs.training.checkpoint import Checkpoint, CheckpointFolder

folder = CheckpointFolder(Path(sys.argv[1]) / "checkpoints", "a" * 64)
folder.save(Checkpoint(1, 0, {}, {"model.weight": np.ones(8, np.float32)}))
large = {"model.weight": np.ones(16 << 20, np.float32), "best.weight": np.ones(16 << 20, np.float32)}
used = next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmData")) << 10
hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
resource.setrlimit(resource.RLIMIT_DATA, (used + (16 << 20), hard))
folder.save(Checkpoint(2, 0, {}, large))
resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))
found = folder.load_latest().state
print(found.epoch, all((found.arrays[name] == array).all() for name, array in large.items()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds a process to RLIMIT_DATA")
def test_a_checkpoint_of_128_mib_is_written_with_16_mib_to_spare(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", HARD_UP, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "2 True\n"), done.stderr
