"""`cbi-queue export`, the job that does the same, and what a package does on its own: forecast, and serve as Vertex asks.

One installation for the whole file: real trainings by a real daemon, then exports by real commands.
"""

from __future__ import annotations

import http.client
import json
import math
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from support.installation import Installation
from support.waiting import until

from cbi_queue.errors import CbiError, Refused
from cbi_queue.ledger import Ledger, queries
from cbi_queue.vertex import packing

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.process
BLOCKS = {"validation_rows": 60, "backtest_rows": 60, "embargo_rows": 5}
PLAN = {
    "day": 0,
    "jobs": [
        {
            "name": "tree", "family": "trees", "model": "lightgbm_dart", "horizon": "1w",
            "params": {**BLOCKS, "n_estimators": 30, "early_stopping_rounds": None},
        },
        {
            "name": "net", "family": "simple_neural", "model": "feed_forward", "horizon": "1w",
            "params": {**BLOCKS, "epochs": 2, "hidden": [8], "sequence_length": 4, "shrink": False},
        },
        {
            "name": "walk", "family": "statistical", "model": "arima", "horizon": "1m",
            "params": {**BLOCKS, "history_rows": 120},
        },
        {"name": "pack", "family": "export", "horizon": "1w", "needs": ["tree", "net"], "params": {"job": "net"}},
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory, sample_exports: Path, feature_dir: Path, new_ledger: Path
) -> Iterator[Installation]:
    """An installation whose plan has run to its end, the export job included."""
    installation = Installation(tmp_path_factory.mktemp("trained"))
    installation.furnish(sample_exports, feature_dir)
    (installation.settings.ledger_path).write_bytes(new_ledger.read_bytes())
    plan = installation.root / "plan.yaml"
    plan.write_text(json.dumps(PLAN))
    installation.cli("run", str(plan), within_s=240)
    yield installation
    installation.close()


def exported(trained: Installation, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(trained.cli("export", "1w", "--json", *arguments, within_s=240))
    return found


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_the_job_of_a_plan_exports_what_it_names_and_says_so(trained: Installation) -> None:
    job = trained.job("pack")
    assert job.metrics["model_id"] == "cbi-zl-1w-v01"
    assert job.metrics["job"] == "net"
    package = Path(job.metrics["folder"])
    assert package == trained.settings.models / "vertex-ai" / "1w" / "v01"
    assert json.loads((package / "package.json").read_bytes())["job"] == "net"
    assert "exported as cbi-zl-1w-v01" in trained.cli("list", "--all")
    assert "pack" not in trained.cli("leaderboard"), "an export is no model"


def test_the_first_of_the_board_is_exported_and_each_export_is_a_new_version(
    trained: Installation, tmp_path: Path
) -> None:
    board = json.loads(trained.cli("leaderboard", "--json"))["1w"]
    first = next(row["name"] for row in board if not row["is_bar"])
    shelf = tmp_path / "packages"
    versions = [exported(trained, "--to", str(shelf)) for _ in range(2)]
    assert [found["job"] for found in versions] == [first, first]
    assert [found["model_id"] for found in versions] == ["cbi-zl-1w-v01", "cbi-zl-1w-v02"]
    assert left_in(shelf) == ["v01", "v02"]
    assert any("told apart from naive" in sentence or "naive" in sentence for sentence in versions[0]["words"])
    package = Path(versions[1]["folder"])
    done = subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=package, check=False)
    assert done.returncode == 0
    told = json.loads((package / "metrics.json").read_bytes())
    assert {"mape_pct", "sharpe", "skill", "cv_scheme", "parity", "latency", "forecast"} <= told.keys()
    assert told["latency"]["cpu"]
    assert (
        "commit" in (package / "training_hash.txt").read_text()
        or "cbi-queue" in (package / "training_hash.txt").read_text()
    )
    words = (package / "README.md").read_text()
    assert "cbi-zl-1w-v02" in words
    assert "min-replica-count=0" in words


def test_two_exports_at_once_are_two_versions(trained: Installation, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-P",
        "-m",
        "cbi_queue.cli",
        "export",
        "1w",
        "--job",
        "tree",
        "--to",
        str(tmp_path / "p"),
    ]
    both = [
        subprocess.Popen(command, env=trained.environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for _ in "ab"
    ]
    assert [process.communicate(timeout=240)[1] for process in both] == [b"", b""]
    assert left_in(tmp_path / "p") == ["v01", "v02"]
    told = {json.loads((tmp_path / "p" / name / "package.json").read_bytes())["version"] for name in ("v01", "v02")}
    assert told == {"v01", "v02"}, "each knows its own name"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("1m", "--job", "walk"), "arima is not exportable: it forecasts from the whole price history"),
        (("1m",), "arima is not exportable"),
        (("1m", "--job", "tree"), "job 1 tree is of 1w, not of 1m"),
        (("3m",), "no model of 3m of the data set default is ranked"),
        (("1w", "--job", "tree", "--dataset", "wti"), "job 1 tree is of the data set default, not of wti"),
        (("1w", "--dataset", "wti"), "no model of 1w of the data set wti is ranked"),
        (("1w", "--job", "nobody"), "nobody"),
        (("1w", "--job", "pack"), "is on no board"),
    ],
)
def test_what_cannot_be_exported_is_refused_and_leaves_nothing(
    trained: Installation, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    said = trained.cli("export", *arguments, "--to", str(tmp_path / "packages"), code=2)
    assert words in said
    assert "Traceback" not in said
    assert left_in(tmp_path) == []


def test_a_vetoed_or_damaged_run_is_refused(trained: Installation, tmp_path: Path) -> None:
    job = trained.job("tree")
    model = Path(job.run_dir or "") / "model.txt"
    good = model.read_bytes()
    try:
        model.write_bytes(good.replace(b"leaf_value", b"leaf_velue", 1))
        said = trained.cli("export", "1w", "--job", "tree", "--to", str(tmp_path / "p"), code=2)
    finally:
        model.write_bytes(good)
    assert "the run of tree is damaged: model.txt differs from its checksum" in said
    with trained.ledger() as ledger:
        ledger.conn.execute("UPDATE jobs SET state = 'vetoed', veto = 'too good' WHERE name = 'tree'")
    try:
        said = trained.cli("export", "1w", "--job", "tree", "--to", str(tmp_path / "p"), code=2)
    finally:
        with trained.ledger() as ledger:
            ledger.conn.execute("UPDATE jobs SET state = 'succeeded', veto = NULL WHERE name = 'tree'")
    assert "was vetoed: too good" in said
    assert "cbi-queue accept tree" in said
    assert left_in(tmp_path) == []


def row_and_folders(trained: Installation, name: str) -> dict[str, Any]:
    with Ledger.open_readonly(trained.settings.ledger_path) as ledger:
        job = queries.find_job(ledger, name)
    return {"job": job, "run_dir": Path(job.run_dir or ""), "processed_dir": trained.settings.processed_dir}


def test_an_export_that_takes_too_long_or_fails_leaves_nothing(trained: Installation, tmp_path: Path) -> None:
    asked = {**row_and_folders(trained, "tree"), "shelf": tmp_path / "p", "words": ()}
    with pytest.raises(CbiError, match="took longer than 0 s and was ended; nothing was left"):
        packing.pack(**asked, interpreter=sys.executable, limit_s=0.01)
    with pytest.raises(CbiError, match="cannot be started"):
        packing.pack(**asked, interpreter=str(tmp_path / "no-python"))
    failing = tmp_path / "python"
    failing.write_text("#!/bin/sh\necho 'the disk is on fire' >&2\nexit 3\n")
    failing.chmod(0o755)
    with pytest.raises(CbiError, match="failed: the disk is on fire; nothing was left"):
        packing.pack(**asked, interpreter=str(failing))
    failing.write_text("#!/bin/sh\nkill -9 $$\n")
    with pytest.raises(CbiError, match="ended by SIGKILL, as when memory runs out"):
        packing.pack(**asked, interpreter=str(failing))
    assert left_in(tmp_path) == ["python"]
    with pytest.raises(Refused, match="does not exist"):
        packing.pack(**{**asked, "shelf": tmp_path / "no" / "such"}, interpreter=sys.executable)


def test_features_of_other_data_are_noticed(trained: Installation, tmp_path: Path, sample_exports: Path) -> None:
    asked = {**row_and_folders(trained, "tree"), "shelf": tmp_path / "p", "words": (), "interpreter": sys.executable}
    with pytest.raises(Refused, match="cannot be used"):
        packing.pack(**{**asked, "processed_dir": tmp_path})
    assert left_in(tmp_path) == []


def test_a_stopped_export_cleans_up(trained: Installation, tmp_path: Path) -> None:
    shelf = tmp_path / "p"
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "cbi_queue.cli", "export", "1w", "--job", "tree", "--to", str(shelf)],
        env=trained.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    until(lambda: left_in(shelf), "the export has begun")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 128 + signal.SIGTERM
    assert left_in(tmp_path) == []


# --- the server of a package


@pytest.fixture(scope="module")
def package(trained: Installation) -> Path:
    """The package of the net."""
    return Path(trained.job("pack").metrics["folder"])


class Served:
    """A server of a package, on a free port of this machine."""

    def __init__(self, url: str) -> None:
        self.port = int(url.rpartition(":")[2])

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
        """Send a request; return the status and the JSON of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def predict(self, asked: Any) -> tuple[int, Any]:
        """Send *asked* to the predict route, as JSON unless it is octets."""
        body = asked if isinstance(asked, bytes) else json.dumps(asked).encode()
        return self.ask("POST", "/v1/predict", body, Content_Type="application/json")


@contextmanager
def served(package: Path, **environ: str) -> Iterator[Served]:
    """Start the package's server with the variables that Vertex sets."""
    process = subprocess.Popen(
        [sys.executable, "server.py"],
        cwd=package,
        env={
            **os.environ, "AIP_HTTP_PORT": "0", "AIP_HEALTH_ROUTE": "/v1/health", "AIP_PREDICT_ROUTE": "/v1/predict",
            "AIP_STORAGE_URI": "gs://bucket/model", "OMP_NUM_THREADS": "1", **environ,
        },
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout
        url = process.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:"), "loopback unless told otherwise"
        server = Served(url)
        until(lambda: _is_ready(server), "the server answers")
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def _is_ready(server: Served) -> bool:
    try:
        return server.ask("GET", "/v1/health")[0] == 200
    except OSError:
        return False


@pytest.fixture(scope="module")
def server(package: Path) -> Iterator[Served]:
    with served(package) as server:
        yield server


@pytest.fixture(scope="module")
def example(package: Path) -> tuple[list[list[float | None]], float]:
    """The rows and the price of the package's example."""
    _, *lines = (package / "example.csv").read_text().splitlines()
    cells = [line.split(",") for line in lines]
    return [[float(cell) if cell else None for cell in row[2:]] for row in cells], float(cells[-1][1])


def test_the_request_form_of_vertex_gets_the_forecast_of_the_run(
    trained: Installation, server: Served, example: tuple[Any, float]
) -> None:
    rows, price = example
    status, health = server.ask("GET", "/v1/health")
    assert (status, health["model_id"]) == (200, "cbi-zl-1w-v01")
    status, answer = server.predict({"instances": [{"rows": rows, "price": price}] * 3, "parameters": {}})
    assert status == 200
    assert len(answer["predictions"]) == 3
    told = trained.job("net").metrics["forecast"]
    for name in ("predicted_price", "lower_80", "upper_80", "lower_95", "upper_95"):
        assert math.isclose(answer["predictions"][2][name], told[name], rel_tol=1e-6), name


def test_octets_get_the_same_as_json(server: Served, example: tuple[Any, float]) -> None:
    rows, price = example
    window = np.array([rows, rows], dtype="<f4")
    shape = ",".join(map(str, window.shape))
    octets = {"Content_Type": "application/octet-stream", "X_Shape": shape}
    json_answer = server.predict({"instances": [{"rows": rows, "price": price}] * 2})
    assert server.ask("POST", "/v1/predict", window.tobytes(), **octets, X_Prices=f"{price},{price}") == json_answer
    status, answer = server.ask("POST", "/v1/predict", window.tobytes(), **octets)
    assert (status, list(answer["predictions"][0])) == (200, ["predicted_move"]), "without a price, the move alone"


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (b"", "the body must be JSON"),
        (b"[1]", "the body must be JSON"),
        (b'{"instances": 3}', "the body must be JSON"),
        (b"[" * 100_000, "the body must be JSON"),
        ({"instances": []}, "instances is empty"),
        ({"instances": [{"rows": [[1.0]]}]}, "a window must be 4 rows of"),
        ({"instances": [{"rows": [[1.0], [1.0, 2.0]]}]}, "each instance's rows must be 4 rows of"),
        ({"instances": [{"rows": "text"}]}, "each instance's rows must be"),
    ],
)
def test_a_bad_request_is_refused_in_words(server: Served, asked: Any, words: str) -> None:
    status, answer = server.predict(asked)
    assert status == 400
    assert words in answer["error"]


def test_bad_numbers_are_refused_in_words(server: Served, example: tuple[Any, float]) -> None:
    rows, price = example
    huge = [[1e39, *row[1:]] for row in rows]
    for instance, words in (
        ({"rows": huge, "price": price}, "a feature is infinite"),
        ({"rows": rows, "price": -1}, "the price is -1.0"),
        ({"rows": rows, "price": "12"}, "price must be a number"),
    ):
        status, answer = server.predict({"instances": [instance]})
        assert status == 400
        assert words in answer["error"]
    status, answer = server.predict({"instances": [{"rows": rows, "price": price}, {"rows": rows}]})
    assert (status, "left out of all" in answer["error"]) == (400, True)
    octets = {"Content_Type": "application/octet-stream"}
    for headers in ({}, {"X_Shape": "1,2"}, {"X_Shape": "1,4,-5"}, {"X_Shape": "a"}, {"X_Shape": "0,4,203"}):
        status, answer = server.ask("POST", "/v1/predict", b"\0" * 8, **octets, **headers)
        assert (status, "X-Shape" in answer["error"]) == (400, True), headers


def test_a_body_that_is_too_large_is_refused_before_it_is_read_whole(package: Path) -> None:
    with served(package, MOST_BYTES="1000") as server:
        status, answer = server.predict(b" " * 5000)
        assert (status, answer["error"]) == (413, "the body is larger than 1000 bytes")
        assert server.ask("GET", "/v1/health")[0] == 200
