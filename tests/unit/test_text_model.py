"""A folder of weights is looked at without an ML library, and every fault is named with its remedy."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support.tiny_bert import make_tiny_bert

from cbi_queue.errors import Refused
from cbi_queue.text_model import STOCK, check_model, find_model

if TYPE_CHECKING:
    from pathlib import Path

REVISION = "4556d13015211d73dccd3fdd39d39232506f3e43"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bert(tmp_path_factory.mktemp("weights") / "tiny")


@pytest.fixture
def folder(tiny: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny, tmp_path / "copy")


def fault(folder: Path) -> str:
    with pytest.raises(Refused) as caught:
        check_model(folder)
    assert "save_pretrained" in str(caught.value.hint), "the remedy says where to get the weights"
    return caught.value.message


def with_config(folder: Path, **changes: object) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return folder


def test_a_whole_folder_is_taken_with_its_labels_by_name(folder: Path) -> None:
    found = check_model(with_config(folder, id2label={"0": "Neutral", "1": "Positive", "2": "NEGATIVE"}))

    assert found.labels == ("neutral", "positive", "negative")
    assert found.max_length == 512


def test_pickled_weights_are_refused_by_name(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")

    assert "model.safetensors is missing; pytorch_model.bin is a pickle, which can run code" in fault(folder)


def test_weights_that_were_not_copied_whole_are_told_from_others(folder: Path) -> None:
    path = folder / "model.safetensors"
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-100])

    assert f"has {size - 100:,} bytes and should have {size:,}: it was not copied whole" in fault(folder)
    path.write_bytes(b"<html>429 Too Many Requests</html>")
    assert "do not begin with the header of safetensors" in fault(folder)


@pytest.mark.parametrize(
    ("labels", "is_right"),
    [
        ({"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}, False),
        ({"0": "positive", "1": "neutral", "2": "other"}, False),
        ({"0": "positive", "1": "positive", "2": "negative"}, False),
        ({"1": "positive", "2": "negative", "3": "neutral"}, False),
        ({"0": "negative", "1": "neutral", "2": "positive"}, True),
    ],
)
def test_labels_must_name_positive_and_negative(folder: Path, labels: dict[str, str], is_right: bool) -> None:
    with_config(folder, id2label=labels)
    if is_right:
        assert check_model(folder).labels[0] == "negative"
    else:
        assert "one called positive and one negative" in fault(folder)


def test_all_faults_are_named_at_once(folder: Path) -> None:
    with_config(folder, auto_map={"AutoModel": "evil.Net"}, architectures=["BertForMaskedLM"])
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").unlink()

    found = fault(folder)

    for words in ("code of its own", "sequence classification", "tokenizer is missing"):
        assert words in found


def test_files_of_two_models_do_not_pass_for_one(folder: Path) -> None:
    assert "2 labels" in fault(with_config(folder, id2label={"0": "positive", "1": "negative"}))
    assert "words, and config.json 30522" in fault(with_config(folder, vocab_size=30522))


def test_a_link_out_of_the_folder_is_not_followed(folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    shutil.move(folder / "config.json", secret)
    (folder / "config.json").symlink_to(secret)

    assert "config.json is a link out of the folder" in fault(folder)


def test_the_hash_changes_with_any_file_that_decides_a_score(folder: Path) -> None:
    before = check_model(folder).sha256()
    (folder / "README.md").write_text("x")
    assert check_model(folder).sha256() == before
    with_config(folder, layer_norm_eps=1e-6)
    assert check_model(folder).sha256() != before


def cache_of(tiny: Path, root: Path, revision: str = REVISION) -> dict[str, str]:
    """A cache as the hub's own library leaves it: links from snapshots/ to blobs/."""
    room = root / "hub" / "models--ProsusAI--finbert"
    snapshot = room / "snapshots" / REVISION
    for part in (room / "refs", room / "blobs", snapshot):
        part.mkdir(parents=True)
    (room / "refs" / "main").write_text(revision)
    for number, file in enumerate(tiny.iterdir()):
        shutil.copy(file, room / "blobs" / str(number))
        (snapshot / file.name).symlink_to(f"../../blobs/{number}")
    return {"HF_HOME": str(root)}


def test_the_hub_s_cache_is_read_where_its_library_keeps_it(tiny: Path, tmp_path: Path) -> None:
    environ = cache_of(tiny, tmp_path)

    found = find_model(STOCK, environ)

    assert found.name == REVISION
    assert check_model(found).sha256() == check_model(tiny).sha256()
    assert find_model(STOCK, {"HF_HUB_CACHE": str(tmp_path / "hub")}) == found


def test_what_is_absent_is_said_with_the_place_and_the_size(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="is not on this machine") as caught:
        find_model(STOCK, {"HF_HOME": str(tmp_path)})
    assert str(tmp_path / "hub" / "models--ProsusAI--finbert") in caught.value.message
    assert "440 MB" in caught.value.message
    with pytest.raises(Refused, match="there is no folder"):
        find_model("/nowhere/finbert", {})


def test_a_revision_leads_nowhere_but_into_the_cache(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="is incomplete"):
        find_model(STOCK, cache_of(tiny, tmp_path, revision="../../../../etc"))


@pytest.mark.process
def test_nothing_heavy_is_imported_to_look_at_weights(folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from cbi_queue.text_model import check_model; "
        "check_model(Path(sys.argv[1])).sha256(); print(sorted({'torch', 'transformers', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
