"""A folder of weights is looked at without an ML library, and every fault is named with its remedy."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from support.tiny_bert import make_tiny_bert

from cbi_queue import text_fetch
from cbi_queue.cli.verbs.text.fetching import fetch_weights
from cbi_queue.errors import CbiError, Refused
from cbi_queue.text_fetch import fetch, files_at
from cbi_queue.text_model import STOCK, check_model, find_model

if TYPE_CHECKING:
    from collections.abc import Iterator
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


class Hub(ThreadingHTTPServer):
    """The routes of the hub that a download needs: the list of a commit, its files, and another place for large ones."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), HubAnswers)
        self.files = {path.name: path.read_bytes() for path in folder.iterdir()}
        self.files |= {"pytorch_model.bin": b"a pickle", "README.md": b"words", "modeling.py": b"raise SystemExit"}
        self.listed = {name: entry_of(name, content) for name, content in self.files.items()}
        self.asked: list[str] = []
        self.elsewhere, self.stalls_at, self.goes_on = self.url, "", threading.Event()
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_port}"


class HubAnswers(BaseHTTPRequestHandler):
    """What the hub says to one request."""

    server: Hub

    def do_GET(self) -> None:
        """Answer with a list, a file, a redirect or 404."""
        hub, place = self.server, self.path.partition("?")[0]
        hub.asked.append(place)
        name = place.rpartition("/")[2]
        if place == f"/api/models/{STOCK}/tree/{REVISION}":
            self.answer(
                200, json.dumps([*hub.listed.values(), {"type": "directory", "path": "onnx", "oid": "0"}]).encode()
            )
        elif place == f"/{STOCK}/resolve/{REVISION}/model.safetensors":
            self.answer(302, b"", Location=f"{hub.elsewhere}/blobs/model.safetensors")
        elif place.startswith((f"/{STOCK}/resolve/{REVISION}/", "/blobs/")) and name in hub.files:
            self.answer(200, hub.files[name])
        else:
            self.answer(404, b"Entry not found")

    def answer(self, code: int, content: bytes, **headers: str) -> None:
        """Send one answer."""
        self.send_response(code)
        for key, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.server.stalls_at and self.path.endswith(self.server.stalls_at):
            self.wfile.write(content[:50])
            self.server.goes_on.wait(60.0)
        else:
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def entry_of(name: str, content: bytes) -> dict[str, Any]:
    blob = hashlib.sha1(f"blob {len(content)}\0".encode() + content, usedforsecurity=False).hexdigest()
    entry: dict[str, Any] = {"type": "file", "path": name, "size": len(content), "oid": blob}
    if name.endswith((".safetensors", ".bin")):
        large = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
        entry |= {"oid": "0" * 40, "lfs": large}
    return entry


@pytest.fixture
def hub(tiny: Path) -> Iterator[Hub]:
    with Hub(tiny) as server:
        yield server
        server.goes_on.set()
        server.shutdown()


def test_one_commit_is_downloaded_by_name_and_checked(
    hub: Hub, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    to = tmp_path / "finbert"
    fetch_weights.main(["--to", str(to), "--dry-run"], standalone_mode=False)
    assert f"{(tiny / 'model.safetensors').stat().st_size:,}  model.safetensors" in capsys.readouterr().out
    assert not to.exists()
    fetch_weights.main(["--to", str(to), "--json"], standalone_mode=False)
    said = json.loads(capsys.readouterr().out)

    assert said["revision"] == REVISION
    assert said["sha256"] == check_model(to).sha256() == check_model(tiny).sha256()
    record = json.loads((to / "fetched.json").read_text())
    for name, told in record["files"].items():
        content = (tiny / name).read_bytes()
        assert told == {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    assert (record["repository"], record["revision"], record["endpoint"]) == (STOCK, REVISION, hub.url)
    assert {path.name for path in to.iterdir()} == {*record["files"], "fetched.json"}
    assert not any(path.endswith((".bin", ".py", ".md")) for path in hub.asked), "no pickle and no code"
    with pytest.raises(Refused, match="is there already"):
        fetch(STOCK, REVISION, to, {"HF_ENDPOINT": hub.url})


def test_what_is_not_as_listed_leaves_nothing(hub: Hub, tmp_path: Path) -> None:
    environ, to = {"HF_ENDPOINT": hub.url}, tmp_path / "finbert"
    whole = hub.files["model.safetensors"]
    for content in (whole[:-5], whole + b"more", whole[:-1] + b"?"):
        hub.files["model.safetensors"] = content
        with pytest.raises(CbiError, match=r"model\.safetensors is not what the hub lists"):
            fetch(STOCK, REVISION, to, environ)
    hub.files["model.safetensors"] = whole
    hub.files["config.json"] = hub.files["config.json"].replace(b"positive", b"Positive")
    with pytest.raises(CbiError, match=r"config\.json is not what the hub lists"):
        fetch(STOCK, REVISION, to, environ)
    hub.elsewhere = "http://192.0.2.1"
    with pytest.raises(CbiError):
        fetch(STOCK, REVISION, to, environ)
    hub.files["config.json"] = hub.files["config.json"].replace(b"Positive", b"positive")
    with pytest.raises(Refused, match="is not https"):
        fetch(STOCK, REVISION, to, environ)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stalls_at", ["model.safetensors", REVISION])
def test_a_download_that_stalls_is_no_fault_of_the_disk(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stalls_at: str
) -> None:
    monkeypatch.setattr(text_fetch, "TIMEOUT_S", 0.5)
    hub.stalls_at = stalls_at
    with pytest.raises(CbiError, match=r"cannot download .*timed out"):
        fetch(STOCK, REVISION, tmp_path / "finbert", {"HF_ENDPOINT": hub.url})
    assert list(tmp_path.iterdir()) == []


def test_a_commit_without_safetensors_or_a_branch_is_refused_with_what_to_do(hub: Hub, tmp_path: Path) -> None:
    environ = {"HF_ENDPOINT": hub.url}
    del hub.listed["model.safetensors"]
    with pytest.raises(Refused, match=r"has no model\.safetensors; it has pytorch_model\.bin") as caught:
        files_at(STOCK, REVISION, environ)
    assert "--revision" in str(caught.value.hint)
    assert "save_pretrained" in str(caught.value.hint)
    with pytest.raises(Refused, match="40 hex digits"):
        files_at(STOCK, "main", environ)
    for name in ("../../etc", "owner/naïve"):
        with pytest.raises(Refused, match="no repository of the hub"):
            files_at(name, REVISION, environ)
    with pytest.raises(Refused, match="HTTP 404"):
        files_at("some/other", REVISION, environ)
    for endpoint in ("http://192.0.2.1", "https://[x"):
        with pytest.raises(Refused, match="is not https"):
            files_at(STOCK, REVISION, {"HF_ENDPOINT": endpoint})
    hub.shutdown()
    hub.server_close()
    with pytest.raises(CbiError, match="does not answer"):
        fetch(STOCK, REVISION, tmp_path / "finbert", environ)
    assert list(tmp_path.iterdir()) == []
