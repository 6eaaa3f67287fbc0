"""FinBERT: texts in, P(positive) and P(negative) out. Inference only, in float32 on the CPU.

Imported with the hub switched off: whatever is missing is an error, never a download. On an accelerator the first
batch is compared with the CPU's, and one that differs is not used.
"""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"  # read when the libraries are imported
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

from typing import TYPE_CHECKING, Any

from jobs.torch_backend.device import (  # before torch, whose memory ceilings it sets
    compute_repeatably,
    computes,
    shrink,
)

# isort: split
import torch

from cbi_queue.text_model import NEGATIVE, POSITIVE
from jobs.process.out_of_memory import is_out_of_memory
from jobs.torch_backend.precision import Precision
from jobs.torch_backend.probe import probe
from jobs.trainer import BrokenRuntime, BrokenSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

    from cbi_queue.protocol import Probed
    from cbi_queue.text_model import TextModel

AGREES = 0.01
"""Largest difference of a sentiment on an accelerator from the CPU's."""
Tokens = list[int]


class Sentiment:
    """A loaded model. `tokens` once for all texts, then `scores` batch by batch."""

    def __init__(self, model: TextModel, max_length: int, threads: int) -> None:
        """Load the checked *model*.

        Args:
            model: its folder.
            max_length: tokens of a text that are read.
            threads: of the CPU.

        Raises:
            BrokenRuntime: without transformers.
            BrokenSpec: when the folder's files do not belong together.
        """
        if max_length > model.max_length:
            raise BrokenSpec(
                f"headlines.max_length is {max_length}, and the model in {model.folder} reads {model.max_length} "
                "tokens at "
                f"most; `cbi-queue data edit headlines.max_length={model.max_length}`"
            )
        compute_repeatably(threads)
        self._max_length = max_length
        self._columns = model.labels.index(POSITIVE), model.labels.index(NEGATIVE)
        self._tokenizer, self._net = _loaded(model)
        self.device, self.precision = torch.device("cpu"), Precision("float32", torch.device("cpu"))

    @property
    def shape(self) -> str:
        """What the cost of a token depends on, in words."""
        config = self._net.config
        return f"{config.num_hidden_layers} layers of {config.hidden_size}"

    def tokens(self, texts: Sequence[str]) -> list[Tokens]:
        """Return the token numbers of each text, cut at the longest length that is read."""
        found = self._tokenizer(list(texts), truncation=True, max_length=self._max_length, padding=False)
        return [list(ids) for ids in found["input_ids"]]

    def place(self, devices: Sequence[str], precision: str, sample: Sequence[Tokens]) -> list[str]:
        """Move the net to the first of *devices* that scores *sample* as the CPU does; return why others do not."""
        expected, refusals = self.scores(sample), []
        for name in devices:
            if name == "cpu":
                break
            if not computes(name):
                refusals.append(f"{name} does not compute")
                continue
            for kind in dict.fromkeys((precision, "float32")):
                self.device = torch.device(name)
                self.precision = Precision(kind, self.device)
                self._net.to(self.device)
                try:
                    off = abs(self.scores(sample) - expected).max()
                except (RuntimeError, NotImplementedError) as exc:
                    refusals.append(f"{name} in {kind}: {str(exc).splitlines()[0][:160]}")
                    continue
                if off <= AGREES:
                    return refusals
                refusals.append(f"{name} in {kind} differs from the CPU by {off:.2g}")
        self.device, self.precision = torch.device("cpu"), Precision("float32", torch.device("cpu"))
        self._net.to(self.device)
        return refusals

    @torch.inference_mode()
    def scores(self, batch: Sequence[Tokens]) -> np.ndarray:
        """Return P(positive) and P(negative) of each text of *batch*: (n, 2) float32.

        Shorter texts are filled up to the longest one and masked: what fills them has no weight.
        """
        longest = max(map(len, batch))
        ids = torch.full((len(batch), longest), int(self._tokenizer.pad_token_id or 0), dtype=torch.long)
        mask = torch.zeros(len(batch), longest, dtype=torch.long)
        for number, tokens in enumerate(batch):
            ids[number, : len(tokens)] = torch.tensor(tokens)
            mask[number, : len(tokens)] = 1
        with self.precision.autocast():
            logits = self._net(input_ids=ids.to(self.device), attention_mask=mask.to(self.device)).logits
        found: np.ndarray = torch.softmax(logits.float(), dim=-1)[:, list(self._columns)].cpu().numpy()
        return found


def libraries() -> str:
    """Name the libraries that compute, with their versions."""
    from importlib.metadata import version

    return f"torch {torch.__version__} transformers {version('transformers')}"


def probe_on(device: torch.device) -> Callable[[], Probed]:
    """Return the calibration probe of *device*."""
    return lambda: probe(device)


def release(device: torch.device) -> Callable[[], None]:
    """Return what frees the caches of *device* when a pause begins."""
    return lambda: shrink(device)


def _loaded(model: TextModel) -> tuple[Any, Any]:
    try:
        import transformers
        from transformers import AutoModelForSequenceClassification, AutoTokenizer
    except ImportError as exc:
        raise BrokenRuntime(
            "FinBERT needs transformers, which is not in this Python; install cbi-queue[text] there"
        ) from exc
    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(model.folder), local_files_only=True, trust_remote_code=False)
        net, seen = AutoModelForSequenceClassification.from_pretrained(
            str(model.folder),
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except Exception as exc:
        if is_out_of_memory(exc):
            raise
        # The tokenizers library raises bare Exceptions for a file that it cannot read.
        words = " ".join(str(exc).split())[:300]
        raise BrokenSpec(f"the model in {model.folder} cannot be loaded: {type(exc).__name__}: {words}") from exc
    absent = sorted(seen["missing_keys"]) + sorted(str(key) for key in seen.get("mismatched_keys", ()))
    if absent:
        raise BrokenSpec(
            f"the model in {model.folder} lacks {len(absent)} of its weights, such as {absent[0]}: they would be "
            "random numbers; "
            "copy model.safetensors and config.json of one model there"
        )
    if len(tokenizer) > model.vocabulary:
        raise BrokenSpec(
            f"the tokenizer in {model.folder} has {len(tokenizer)} words, and the model {model.vocabulary}: they "
            "do not belong "
            "together"
        )
    return tokenizer, net.eval()
