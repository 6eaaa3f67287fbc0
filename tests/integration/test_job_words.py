"""What lists say of a job: its score, its real error, what it waits for, and how many wait for a failed one."""

from __future__ import annotations

import io
import json

import pytest
from click.testing import CliRunner
from rich.console import Console
from starlette.testclient import TestClient
from support.api_installation import BROWSER, ApiInstallation, scores

from cbi_queue.api.app import create_app
from cbi_queue.cli import cli
from cbi_queue.cli.status_view import render_status
from cbi_queue.cli.verbs import pause
from cbi_queue.ledger import queries
from cbi_queue.telemetry.governor_log import record_decision
from cbi_queue.telemetry.telemetry import Telemetry
from cbi_queue.views.job_words import result_words
from cbi_queue.views.snapshot import lines_and_blocked, take_status

ERROR = "26 days without a price, first 1993-02-03"
BLOCKED = f"2 failed, 3 wait for them: {ERROR}"


@pytest.fixture
def site(tmp_path, monkeypatch) -> ApiInstallation:
    made = ApiInstallation(tmp_path)
    for name, value in made.environ.items():
        if name.startswith("CBI_"):
            monkeypatch.setenv(name, value)
    return made


@pytest.fixture
def blocked(site) -> ApiInstallation:
    """Two features jobs that failed alike; three models wait for them, one of them at second hand."""
    site.enqueue({"name": "f-1"}, {"name": "f-2"}, {"name": "a", "needs": ["f-1"]}, {"name": "b", "needs": ["f-2"]},
                 {"name": "c", "needs": ["a"]})  # fmt: skip
    for _ in range(2):
        site.fail(site.start_next(), ERROR)
    return site


def shown(site: ApiInstallation, width: int = 80) -> str:
    said = io.StringIO()
    Console(width=width, file=said).print(render_status(take_status(site.settings), width))
    return said.getvalue()


def verb(*words: str) -> str:
    done = CliRunner().invoke(cli, words, env={"COLUMNS": "120"})
    assert done.exit_code == 0, done.output
    return done.output


def test_a_failed_job_shows_its_error_and_who_waits_for_it(blocked):
    assert BLOCKED in shown(blocked)
    assert shown(blocked).count("26 days without") == 3
    listed = verb("list", "--state", "failed")
    assert listed.count(ERROR) == 3
    assert listed.rstrip().endswith(BLOCKED)
    assert verb("list").rstrip().endswith(BLOCKED)
    assert {job["why"] for job in json.loads(verb("list", "--state", "failed", "--json"))} == {ERROR}


def test_the_page_and_the_api_say_the_same(blocked):
    with TestClient(create_app(blocked.settings), base_url=blocked.url) as client:
        page = client.get("/status", headers=BROWSER).text
        status = client.get("/api/v1/status").json()
        failed = client.get("/api/v1/jobs?state=failed").json()["jobs"]

    assert "<strong>2 jobs failed, 3 wait for them</strong>" in page
    assert f'<span class="words" title="{ERROR}">{ERROR}</span>' in page, "the tooltip has it whole on a phone"
    assert page.count(f'<span class="small">{ERROR}</span>') == 2
    assert status["blocked"] == [{"names": ["f-1", "f-2"], "state": "failed", "waiting": 3, "why": ERROR}]
    assert [job["why"] for job in failed] == [ERROR, ERROR]


def test_nothing_says_that_a_retry_cannot_help_because_a_mended_file_can(blocked):
    assert "cannot help" not in verb("show", "f-1") + verb("list", "--all") + shown(blocked)


def test_a_failed_job_for_which_nobody_waits_blocks_nothing(site):
    site.enqueue({"name": "alone"})
    site.fail(site.start_next(), ERROR)

    assert take_status(site.settings).blocked == ()


def test_a_very_long_error_is_cut_in_lists_and_whole_in_show(site):
    site.enqueue({"name": "wordy"})
    site.fail(site.start_next(), "x" * 1000)

    assert take_status(site.settings).ended[0].why == "x" * 240 + " …"
    assert "x" * 1000 in json.loads(verb("show", "wordy", "--json"))["attempt_list"][0]["error"]


def test_ended_jobs_show_their_score_and_events_do_not_repeat_it(site):
    site.enqueue({"name": "a"}, {"name": "b"})
    for name, skill in (("a", 0.012), ("b", -0.2)):
        site.start_next()
        site.finish(name, scores(skill, se=0.02))

    said = shown(site)

    assert "skill +0.012 (-0.028 to +0.052)" in said
    assert "skill -0.200 (-0.240 to -0.160)" in said
    assert "finished, and its result is stored" not in said
    assert "it was next in the queue" not in said
    assert verb("list", "--all").count("skill ") == 2


@pytest.mark.parametrize("key", ["volatility", "regimes"])
def test_a_model_that_forecasts_no_price_shows_its_skill_too(site, key):
    model = {"skill": 0.104, "skill_low": -0.038, "skill_high": 0.246}
    site.enqueue({"name": "a"})
    site.start_next()
    site.finish("a", {key: {"backtest": {"model": model}}})

    assert "skill +0.104 (-0.038 to +0.246)" in shown(site)


def test_a_model_that_is_trained_again_counts_once_in_the_budget(site):
    """After `refresh` the week would seem done twice."""
    for seed in (0, 1, 2):
        site.enqueue({"name": "a", "params": {"seed": seed}})
        site.start_next()
        if seed < 2:
            site.finish("a", scores(0.012))

    counts = take_status(site.settings).budget.total.counts
    assert (counts.done, counts.running) == (0, 1)
    site.finish("a", scores(0.012))
    assert take_status(site.settings).budget.total.counts.done == 1


def test_a_job_that_ended_while_it_was_to_be_paused_is_not_called_paused(site, monkeypatch):
    site.enqueue({"name": "a"})
    site.start_next()
    monkeypatch.setattr(pause, "daemon_is_running", lambda _settings: True)
    monkeypatch.setattr(pause, "wait_for_effect", lambda _is_done: site.finish("a", scores(0.012)) is None)

    said = verb("pause")

    assert "a ended meanwhile (succeeded)" in said
    assert "is paused" not in said


def test_a_queued_job_says_why_only_when_it_waits_for_something(site):
    site.enqueue({"name": "a"}, {"name": "b"}, {"name": "c", "needs": ["a"]})

    with site.ledger() as ledger:
        why = {line.name: line.why for line in lines_and_blocked(ledger)[0]}

    assert why == {"a": "next", "b": "", "c": "waits for a (queued)"}
    assert "enqueued from a plan" not in shown(site)


@pytest.mark.parametrize(("words", "is_shown"), [("x1.4. Nothing is done: a guess", False), ("works 70% now", True)])
def test_a_notice_that_nothing_is_done_stays_out_of_the_live_view(site, words, is_shown):
    """It is no news that nothing happens; `governor why` has it."""
    from cbi_queue.governor.values import Action, Cause, Decision

    site.enqueue({"name": "a"})
    site.start_next()
    with site.ledger() as ledger:
        ledger.add_event("governor", "unknown", job_id=1, words=words)
        assert queries.last_events(ledger, 1)[0].words == words
    telemetry = Telemetry(site.settings.telemetry_path)
    decision = Decision(0.0, Action.TELL, Cause.UNKNOWN, words)
    record_decision(telemetry, decision, job_id=1, attempt=1, epoch=1, acted=True)
    telemetry.close()

    assert (words in shown(site, 200)) is is_shown


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ((0.0,), "skill 0"),
        ((0.0034, -0.0052, 0.0104), "skill +0.003 (-0.005 to +0.010)"),
        ((None, None, None, 5031, 203), "5031 rows, 203 features"),
        ((None, None, None, {"train": 3}, None), None),
        ((None, None, None, None, None, 551), "551 texts scored"),
        (("0.1", True, float("nan")), None),
    ],
)
def test_a_result_in_a_few_words(figures, words):
    assert result_words(*figures) == words


def test_a_refusal_of_the_trainer_is_its_sentence_without_the_name_of_a_class():
    from jobs.session import _one_line
    from jobs.trainer import BrokenRuntime, BrokenSpec

    assert _one_line(BrokenSpec(ERROR)) == _one_line(BrokenRuntime(ERROR)) == ERROR
    assert _one_line(ValueError("odd")) == "ValueError: odd"
