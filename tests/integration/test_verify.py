"""Results stay what they were: `verify` finds every kind of damage, marks it everywhere, and takes the mark away again."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from support.api_installation import JOB, ApiInstallation, scores

from cbi_queue.artifacts import MANIFEST_NAME, Manifest, complete_folder, reopen_folder, write_json
from cbi_queue.cli import cli
from cbi_queue.doctor import _runs
from cbi_queue.errors import Refused
from cbi_queue.ledger import claims, queries, settlement, verbs
from cbi_queue.views.leaderboard import rank

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WEIGHTS = b"weights of a model" * 100


class Queue(ApiInstallation):
    """An installation with finished runs."""

    def run(self, name: str, skill: float) -> Path:
        """Add a job that has trained, with the folder that its trainer completed; return the folder."""
        self.enqueue({"name": name})
        folder = self.settings.models / "local" / "1w" / name
        metrics = scores(skill)
        with self.ledger() as ledger:
            job = queries.find_job(ledger, name)
            attempt = claims.claim(ledger, job.id)
            claims.record_trainer(
                ledger, attempt.id, pid=1, started=0.0, log_path="/x", run_dir=str(folder), settings={"threads": 1}
            )
            folder.parent.mkdir(parents=True, exist_ok=True)
            reopen_folder(folder)
            (folder / "model.bin").write_bytes(WEIGHTS)
            write_json(folder / "metrics.json", {"skill": skill})
            complete_folder(folder, Manifest(ledger.ledger_id, job.id, 1, job.identity, metrics=metrics))
            settlement.finish(ledger, job.id, metrics=metrics)
        return folder

    def verify(self, *arguments: str) -> tuple[int, str]:
        """Run the verb; return its exit code and what it printed."""
        done = CliRunner().invoke(cli, ["verify", *arguments])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.exit_code, done.output

    def damage(self, name: str) -> str | None:
        """The mark in the row of a job."""
        with self.ledger() as ledger:
            return queries.find_job(ledger, name).damage

    def story(self, name: str) -> list[str]:
        """The names of a job's last events."""
        with self.ledger() as ledger:
            return [event.event for event in queries.events_of(ledger, queries.find_job(ledger, name).id)]


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Queue:
    """Two finished runs, which the command line sees."""
    made = Queue(tmp_path)
    monkeypatch.setattr(os, "environ", made.environ)
    made.run("good", 0.1)
    made.run("best", 0.3)
    return made


def flip_a_bit(folder: Path) -> None:
    content = bytearray((folder / "model.bin").read_bytes())
    content[700] ^= 4
    (folder / "model.bin").write_bytes(content)


def link_elsewhere(folder: Path) -> None:
    (folder / "model.bin").rename(folder.parent / "elsewhere.bin")
    (folder / "model.bin").symlink_to(folder.parent / "elsewhere.bin")


def pipe(folder: Path) -> None:
    (folder / "model.bin").unlink()
    os.mkfifo(folder / "model.bin")


def folder_in_place_of_a_file(folder: Path) -> None:
    (folder / "model.bin").unlink()
    (folder / "model.bin").mkdir()


def linked_folder(folder: Path) -> None:
    folder.rename(folder.with_name("moved"))
    folder.symlink_to(folder.with_name("moved"))


def rewritten(**changes: object) -> Callable[[Path], None]:
    def rewrite(folder: Path) -> None:
        body = json.loads((folder / MANIFEST_NAME).read_bytes())
        write_json(folder / MANIFEST_NAME, {**body, **changes})

    return rewrite


OUTSIDE = {"../../../../etc/passwd": {"bytes": 1, "sha256": "0"}}
DAMAGE = {
    "bit": (flip_a_bit, "model.bin differs from its checksum"),
    "cut": (lambda f: os.truncate(f / "model.bin", 10), "model.bin differs from its checksum"),
    "longer": (lambda f: os.truncate(f / "model.bin", 9999), "model.bin differs from its checksum"),
    "gone": (lambda f: (f / "model.bin").unlink(), "model.bin is missing"),
    "link": (link_elsewhere, "model.bin is a link"),
    "pipe": (pipe, "model.bin is no regular file"),
    "folder": (folder_in_place_of_a_file, "model.bin is no regular file"),
    "no manifest": (lambda f: (f / MANIFEST_NAME).unlink(), "its manifest is missing"),
    "cut manifest": (lambda f: os.truncate(f / MANIFEST_NAME, 30), "its manifest is damaged"),
    "empty manifest": (lambda f: os.truncate(f / MANIFEST_NAME, 0), "its manifest is damaged"),
    "huge manifest": (lambda f: os.truncate(f / MANIFEST_NAME, 1 << 40), "larger than 4 MiB"),
    "brackets": (lambda f: (f / MANIFEST_NAME).write_text("[" * 100_000), "its manifest is damaged"),
    "outside": (rewritten(files=OUTSIDE), "names '../../../../etc/passwd', which is outside"),
    "root": (rewritten(files={"/etc/passwd": {"bytes": 1, "sha256": "0"}}), "which is outside the run folder"),
    "ledger": (rewritten(ledger_id="another"), "signed by another job or ledger"),
    "job": (rewritten(job_id=77), "signed by another job or ledger"),
    "spec": (rewritten(identity="another"), "signed by another job or ledger"),
    "attempt": (rewritten(attempt=9), "signed by attempt 9"),
    "metrics": (rewritten(metrics=scores(0.9)), "other metrics than the ledger recorded"),
    "folder gone": (shutil.rmtree, "is missing"),
    "folder linked": (linked_folder, "is a link"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_every_kind_of_damage_is_found_named_and_marked_and_nothing_else_is(queue: Queue, kind: str) -> None:
    spoil, words = DAMAGE[kind]
    folder = queue.run("spoilt", 0.5)
    spoil(folder)

    code, told = queue.verify()

    assert code == 1
    assert words in told
    assert "DAMAGED spoilt (job 3)" in told
    assert "2 runs are intact, 1 damaged" in told
    assert words in queue.damage("spoilt")
    assert (queue.damage("good"), queue.damage("best")) == (None, None)
    assert queue.story("spoilt")[-1] == "damaged"


def test_intact_runs_are_told_as_such_and_the_ledger_is_left_alone(queue: Queue) -> None:
    code, told = queue.verify()
    assert (code, told) == (0, "Checked 2 runs (4 files, 0 MiB): 2 runs are intact, 0 damaged.\n")
    assert queue.story("good")[-1] == "finish"


def test_a_file_beside_the_result_is_listed_and_is_no_damage(queue: Queue) -> None:
    folder = queue.run("noted", 0.2)
    (folder / "my notes.txt").write_text("ran well")
    (folder / "link").symlink_to("/etc/passwd")

    code, told = queue.verify("noted")

    assert code == 0
    assert "not part of the result, and not checked: link, my notes.txt" in told


def test_a_damaged_run_is_marked_everywhere_and_ranked_nowhere(queue: Queue) -> None:
    """Its score would still lead the board."""
    flip_a_bit(queue.settings.models / "local" / "1w" / "best")
    assert queue.verify("best")[0] == 1

    with queue.ledger() as ledger:
        board = {row.name: row for row in rank(queries.all_jobs(ledger))["1w"]}
    assert (board["good"].place, board["good"].skill_mase) == (1, pytest.approx(0.1))
    assert (board["best"].place, board["best"].skill_mase) == (None, None)
    assert "differs from its checksum" in board["best"].damage
    shown = CliRunner().invoke(cli, ["leaderboard"]).output
    assert "best (damaged)" in shown
    assert "Not ranked, its run is damaged: best" in shown
    assert "DAMAGED run, not ranked: model.bin differs" in CliRunner().invoke(cli, ["show", "best"]).output
    assert "its run is damaged: model.bin differs" in CliRunner().invoke(cli, ["status"]).output


def test_the_page_and_the_api_mark_it_too(queue: Queue) -> None:
    from starlette.testclient import TestClient

    from cbi_queue.api.app import create_app

    flip_a_bit(queue.settings.models / "local" / "1w" / "best")
    queue.verify()
    with TestClient(create_app(queue.settings), base_url=queue.url) as client:
        page = client.get("/status?format=html").text
        board = client.get("/api/v1/leaderboard").json()["1w"]
        job = client.get("/api/v1/jobs/best").json()["job"]

    assert "(damaged, not ranked)" in page
    assert [(row["name"], row["place"]) for row in board if row["damage"]] == [("best", None)]
    assert "differs from its checksum" in job["damage"]


def test_the_mark_goes_once_the_files_are_back(queue: Queue) -> None:
    folder = queue.settings.models / "local" / "1w" / "best"
    flip_a_bit(folder)
    queue.verify()
    flip_a_bit(folder)

    assert queue.verify()[0] == 0
    assert queue.damage("best") is None
    assert queue.story("best")[-2:] == ["damaged", "intact"]


def test_a_run_is_trained_again_only_when_it_is_damaged(queue: Queue) -> None:
    with queue.ledger() as ledger, pytest.raises(Refused, match="it has succeeded; nothing was changed"):
        verbs.retry(ledger, ["best"])
    flip_a_bit(queue.settings.models / "local" / "1w" / "best")
    queue.verify()
    with queue.ledger() as ledger:
        [again] = verbs.retry(ledger, ["best"])
    assert (again.state, again.damage, again.metrics) == ("queued", None, None)


def test_json_names_every_run_and_the_exit_code_is_the_same(queue: Queue) -> None:
    flip_a_bit(queue.settings.models / "local" / "1w" / "best")
    code, told = queue.verify("--json")
    seen = json.loads(told)
    assert (code, seen["checked"], seen["damaged"]) == (1, 2, 1)
    assert [(run["name"], run["damage"]) for run in seen["runs"]] == [
        ("good", None),
        ("best", "model.bin differs from its checksum"),
    ]


def test_an_unfinished_or_unknown_job_is_refused_and_nothing_is_marked(queue: Queue) -> None:
    flip_a_bit(queue.settings.models / "local" / "1w" / "best")
    queue.enqueue({"name": "waits"})
    done = CliRunner().invoke(cli, ["verify", "best", "waits"])
    assert isinstance(done.exception, Refused)
    assert "cannot verify job 3 waits: it is queued" in done.exception.message
    assert queue.damage("best") is None


def test_a_missing_models_folder_marks_nothing(queue: Queue) -> None:
    """The disk is not connected: that says nothing about the runs on it."""
    queue.settings.models.rename(queue.settings.models.with_name("away"))
    done = CliRunner().invoke(cli, ["verify"])
    assert "does not exist" in done.exception.message
    assert queue.damage("best") is None


def test_runs_are_found_where_the_data_moved(queue: Queue) -> None:
    moved = queue.settings.repo.with_name("moved")
    queue.settings.repo.rename(moved)
    queue.environ["CBI_V14_REPO"] = str(moved)
    code, told = queue.verify()
    assert (code, "2 runs are intact" in told) == (0, True)


def test_doctor_checks_a_few_and_says_so(queue: Queue) -> None:
    [whole] = _runs(queue.settings)
    assert (whole.verdict, whole.seen[:28]) == ("ok", "2 of 2 finished runs checked")

    flip_a_bit(queue.settings.models / "local" / "1w" / "best")
    [found] = _runs(queue.settings)
    assert (found.verdict, "job 2 best is damaged: model.bin differs" in found.seen) == ("bad", True)
    assert queue.damage("best") is None, "doctor marks nothing"

    queue.verify()
    known, _ = _runs(queue.settings)
    assert (known.verdict, known.seen) == ("bad", "1 run is marked as damaged")


def test_no_job_has_finished_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = Queue(tmp_path)
    monkeypatch.setattr(os, "environ", empty.environ)
    empty.enqueue({**JOB, "name": "waits"})
    assert empty.verify() == (0, "No job has finished yet, so there is no run to check.\n")
    assert not list(_runs(empty.settings))
