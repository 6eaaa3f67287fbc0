"""A folder with the weights of FinBERT: found, checked and hashed before any ML library is imported.

It needs `config.json`, `model.safetensors` and a tokenizer. Pickled weights (`.bin`, `.pt`) can run code when they are
read, and are refused. Labels are read by their names: sentiment is P(positive) - P(negative), and in ProsusAI/finbert
these are the labels 0 and 1. Nothing is downloaded here; `text_fetch` does, when asked to.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cbi_queue.artifacts import sha256_of
from cbi_queue.errors import Refused
from cbi_queue.regular_files import check_file, open_stream, read_whole

if TYPE_CHECKING:
    from collections.abc import Mapping

STOCK = "ProsusAI/finbert"
CONFIG, WEIGHTS = "config.json", "model.safetensors"
TOKENIZER = ("tokenizer.json", "vocab.txt")
"""One of them is enough."""
ALSO_READ = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
POSITIVE, NEGATIVE = "positive", "negative"
MOST_HEADER_BYTES, LENGTH_BYTES = 64 << 20, 8
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*\Z")
_REVISION = re.compile(r"[0-9a-f]{40}\Z")
NEEDED = "config.json, model.safetensors (about 440 MB) and tokenizer.json or vocab.txt (0.2 to 0.7 MB)"
ELSEWHERE = (
    'on a machine with a network and `pip install torch transformers`: python -c "from transformers import '
    "AutoModelForSequenceClassification as M, AutoTokenizer as T; n='ProsusAI/finbert'; "
    "M.from_pretrained(n).save_pretrained('finbert'); T.from_pretrained(n).save_pretrained('finbert')\"; "
    "copy the folder `finbert` here (with `cp -L` from a cache), then `cbi-queue text use FOLDER`"
)
"""How to get the weights where there is a network: it also turns the pickle on the hub into safetensors."""


@dataclass(frozen=True, slots=True)
class TextModel:
    """A folder that was checked."""

    folder: Path
    labels: tuple[str, ...]
    """Lower case, by their index."""
    max_length: int
    """Most tokens that it reads."""
    vocabulary: int

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that decide a score, by name."""
        names = sorted((CONFIG, WEIGHTS, *TOKENIZER, *ALSO_READ))
        return tuple(self.folder / name for name in names if (self.folder / name).is_file())

    def sha256(self) -> str:
        """Return the SHA-256 over the names and contents of its files: about a second for BERT-base."""
        digest = hashlib.sha256()
        for path in self.files:
            digest.update(f"{path.name} {sha256_of(path, follow=True)}\n".encode())
        return digest.hexdigest()


def find_model(named: str, environ: Mapping[str, str] = os.environ) -> Path:
    """Return the folder that *named* means: itself, or a model's newest snapshot in the hub's cache on this disk.

    Raises:
        Refused: when there is none, with what is needed and where to get it.
    """
    folder = Path(named).expanduser()
    if folder.is_dir():
        return folder.resolve()
    if not _HUB_NAME.match(named):
        raise Refused(f"there is no folder {named}; needed there: {NEEDED}", hint=ELSEWHERE)
    room = hub_cache(environ) / f"models--{named.replace('/', '--')}"
    try:
        revision = read_whole(room / "refs" / "main").decode("ascii", errors="replace").strip()
    except OSError as exc:
        raise Refused(
            f"{named} is not on this machine: neither a folder {folder.absolute()} nor {room}; needed: {NEEDED}",
            hint=ELSEWHERE,
        ) from exc
    found = room / "snapshots" / revision
    if not _REVISION.match(revision) or not found.is_dir():
        raise Refused(
            f"the hub's cache {room} is incomplete: refs/main names {revision[:60]!r}, and snapshots/ has no such "
            "folder",
            hint=ELSEWHERE,
        )
    return found


def hub_cache(environ: Mapping[str, str]) -> Path:
    """Return the hub's cache, as its own library looks for it."""
    if named := environ.get("HF_HUB_CACHE"):
        return Path(named).expanduser()
    home = environ.get("HF_HOME") or str(Path(environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface")
    return Path(home).expanduser() / "hub"


def check_model(folder: Path) -> TextModel:
    """Check *folder* without an ML library; a few milliseconds.

    Raises:
        Refused: naming every fault that was found.
    """
    if not folder.is_dir():
        raise Refused(f"there is no folder {folder}; needed there: {NEEDED}", hint=ELSEWHERE)
    faults = [words for path in _present(folder) if (words := _foreign(path, folder))]
    if faults:  # nothing of them is opened
        raise Refused(f"cannot use the model in {folder}: {'; '.join(faults)}", hint=ELSEWHERE)
    config = _config(folder, faults)
    shapes = _shapes(folder, faults)
    if not any((folder / name).is_file() for name in TOKENIZER):
        faults.append("the tokenizer is missing: tokenizer.json or vocab.txt")
    labels = _labels(config, faults) if config else ()
    if config and shapes:
        faults += _mismatches(config, shapes, labels)
    if faults:
        raise Refused(f"cannot use the model in {folder}: {'; '.join(faults)}", hint=ELSEWHERE)
    return TextModel(folder, labels, int(config["max_position_embeddings"]), int(config["vocab_size"]))


def fault_in(folder: str | None) -> str | None:
    """Return what is wrong with a folder that was chosen once; None when nothing is, or none is chosen."""
    try:
        if folder is not None:
            check_model(Path(folder))
    except Refused as exc:
        return exc.message
    return None


def _present(folder: Path) -> list[Path]:
    return [folder / name for name in (CONFIG, WEIGHTS, *TOKENIZER, *ALSO_READ) if os.path.lexists(folder / name)]


def _foreign(path: Path, folder: Path) -> str | None:
    """Refuse what is no regular file, and a link out of the folder; the hub's cache links to its own blobs/."""
    room = folder.parents[1] if folder.parent.name == "snapshots" else folder
    try:
        check_file(path, follow=True)
    except OSError as exc:
        return f"{path.name}: {exc.strerror}"
    if not path.resolve().is_relative_to(room.resolve()):
        return f"{path.name} is a link out of the folder; copy the file itself there (`cp -L`)"
    return None if path.is_file() else f"{path.name} is a link to nothing; copy the file itself there (`cp -L`)"


def _config(folder: Path, faults: list[str]) -> dict[str, Any]:
    try:
        found = json.loads(read_whole(folder / CONFIG, follow=True))
    except FileNotFoundError:
        faults.append("config.json is missing")
        return {}
    except OSError as exc:
        faults.append(f"config.json: {exc.strerror}")
        return {}
    except (ValueError, RecursionError):
        faults.append("config.json is no JSON")
        return {}
    if not isinstance(found, dict):
        faults.append("config.json is no JSON object")
        return {}
    for key in ("max_position_embeddings", "vocab_size"):
        if not isinstance(found.get(key), int) or isinstance(found.get(key), bool) or found[key] < 1:
            faults.append(f"config.json has {key} {found.get(key)!r}; it must be a whole number above 0")
            return {}
    if found.get("auto_map"):
        faults.append("config.json names code of its own (auto_map), which is never run")
    kinds = found.get("architectures")
    if not isinstance(kinds, list) or not any(str(kind).endswith("ForSequenceClassification") for kind in kinds):
        faults.append(f"config.json has architectures {kinds!r}; needed is one for sequence classification")
    return found


def _labels(config: dict[str, Any], faults: list[str]) -> tuple[str, ...]:
    written = config.get("id2label")
    try:
        by_index = {int(index): str(label).strip().lower() for index, label in dict(written or {}).items()}
    except (TypeError, ValueError):
        by_index = {}
    labels = tuple(by_index[index] for index in sorted(by_index))
    is_whole = sorted(by_index) == list(range(len(by_index)))
    if not is_whole or labels.count(POSITIVE) != 1 or labels.count(NEGATIVE) != 1:
        faults.append(
            f"config.json has id2label {written!r}; needed are labels from 0 on, one called positive and one negative: "
            "sentiment is P(positive) - P(negative)"
        )
        return ()
    return labels


def _shapes(folder: Path, faults: list[str]) -> dict[str, list[int]]:
    """Read the header of the weights: name -> shape."""
    path = folder / WEIGHTS
    pickles = sorted(each.name for kind in ("*.bin", "*.pt", "*.pth", "*.ckpt") for each in folder.glob(kind))
    if not os.path.lexists(path):
        also = f"; {pickles[0]} is a pickle, which can run code, and is not read" if pickles else ""
        faults.append(f"model.safetensors is missing{also}")
        return {}
    try:
        with open_stream(path, follow=True) as stream:
            size = os.fstat(stream.fileno()).st_size
            length = int.from_bytes(stream.read(LENGTH_BYTES), "little")
            if not 2 <= length <= min(MOST_HEADER_BYTES, size - LENGTH_BYTES):
                raise ValueError(f"its {size:,} bytes do not begin with the header of safetensors")
            header = json.loads(stream.read(length))
        header.pop("__metadata__", None)
        ends = [int(tensor["data_offsets"][1]) for tensor in header.values()]
        shapes = {name: [int(side) for side in tensor["shape"]] for name, tensor in header.items()}
        if not ends or max(ends) != size - LENGTH_BYTES - length:
            wanted = max(ends, default=0) + LENGTH_BYTES + length
            raise ValueError(f"it has {size:,} bytes and should have {wanted:,}: it was not copied whole")
    except OSError as exc:
        faults.append(f"model.safetensors: {exc.strerror}")
        return {}
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as exc:
        ours = type(exc) is ValueError and str(exc).startswith("it")
        faults.append(f"model.safetensors is damaged: {exc if ours else 'its header cannot be read'}")
        return {}
    return shapes


def _mismatches(config: dict[str, Any], shapes: dict[str, list[int]], labels: tuple[str, ...]) -> list[str]:
    found = []
    head = shapes.get("classifier.weight") or shapes.get("classifier.out_proj.weight") or shapes.get("score.weight")
    if head is None:
        found.append("model.safetensors has no classifier: it is a language model that was not tuned to labels")
    elif labels and head[0] != len(labels):
        found.append(f"model.safetensors has {head[0]} outputs, and config.json {len(labels)} labels")
    words = next((shape for name, shape in shapes.items() if name.endswith("word_embeddings.weight")), None)
    if words is not None and words[0] != config["vocab_size"]:
        found.append(f"model.safetensors has {words[0]} words, and config.json {config['vocab_size']}")
    return found
