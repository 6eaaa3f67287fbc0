"""Being told: real daemons, the real library, a webhook that is slow, down and comes back, and commands that misbehave."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from support.command_hook import CommandHook
from support.installation import NAIVE
from support.waiting import until

from cbi_queue.errors import Refused, SettingsError
from cbi_queue.governor.values import Action, Cause, Decision
from cbi_queue.ledger import claims, settlement
from cbi_queue.ledger.holds import place_hold
from cbi_queue.lifecycle import HoldMode, HoldReason, Outcome, Reason
from cbi_queue.notifications import happenings, notifier
from cbi_queue.notifications.destinations import file_of, named, read_destinations
from cbi_queue.notifications.notifier import notify
from cbi_queue.notifications.sending import message_of
from cbi_queue.notifications.state import failures, read_state
from workers.governor.governor_hold import GovernorHold

pytestmark = pytest.mark.process
SECRET = "hunter2secret"


class Webhook:
    """A real server that keeps what it got; `status` is its answer, None: it takes the message and answers at the end."""

    def __init__(self) -> None:
        self.got: list[dict] = []
        self.status: int | None = 200
        self.is_over = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if outer.status in {200, None}:
                    outer.got.append(body)
                if outer.status is None:
                    outer.is_over.wait(60)
                    return
                self.send_response(outer.status)
                self.end_headers()

            def log_message(self, *_words):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Its address, with a password that must never be seen."""
        return f"json://someone:{SECRET}@127.0.0.1:{self.server.server_port}/{SECRET}-path"


@pytest.fixture
def webhook():
    pytest.importorskip("apprise", reason="the extra notify is not installed")
    made = Webhook()
    yield made
    made.is_over.set()
    made.server.shutdown()
    made.server.server_close()


def destinations(installation, text: str, mode: int = 0o600) -> None:
    path = file_of(installation.settings)
    path.write_text(text)
    path.chmod(mode)


def look(installation, **options) -> None:
    notify(installation.settings, **options)


def fail_jobs(installation, count: int) -> list[int]:
    """Fail jobs as the slot does, without a training each."""
    numbers = installation.enqueue(*({**NAIVE, "name": f"job-{n}-{time.monotonic_ns()}"} for n in range(count)))
    with closing(sqlite3.connect(installation.settings.ledger_path)) as conn, conn:
        for number in numbers:
            conn.execute("UPDATE jobs SET state='failed', ended_at=1, reason='error' WHERE id=?", (number,))
            conn.execute(
                "INSERT INTO attempts (job_id, number, outcome, started_at, ended_at, error) VALUES (?,1,'error',1,2,?)",
                (number, "no column 'price'"),
            )
            conn.execute(
                "INSERT INTO events (at, job_id, event, reason, source, target) VALUES (1,?,'fail','error','running','failed')",
                (number,),
            )
    return numbers


def test_a_daemon_tells_of_a_failed_job_and_the_end_of_its_plan(installation, webhook):
    with socket.create_server(("127.0.0.1", 0)) as deaf:  # takes the connection, and never answers
        deaf_url = f"json://127.0.0.1:{deaf.getsockname()[1]}/?rto=1"
        destinations(installation, f'[deaf]\nurl = "{deaf_url}"\n[hook]\nurl = "{webhook.url}"\n')
        installation.enqueue({**NAIVE, "name": "fine"}, {**NAIVE, "name": "broken", "horizon": "3m", "retries": 0})
        with installation.ledger() as ledger, ledger.write() as conn:
            conn.execute("UPDATE plans SET title = '', source = 'mine.yaml'")
        daemon = installation.start_daemon("--until-empty")
        assert daemon.wait(120) == 1
    [words] = failures(installation.settings)
    assert words.startswith("deaf has not been told: ")
    destinations(installation, f'[hook]\nurl = "{webhook.url}"\n')

    def all_told() -> str:
        return "\n".join(each["title"] + each["message"] for each in webhook.got)

    for _ in range(4):  # a busy machine may have kept the last notifier from ending in its 20 s: the next one tells it
        if "is done" not in all_told():
            installation.start_daemon("--until-empty").wait(60)
    told = all_told()
    assert "broken failed: " in told
    assert "features job of horizon 3m" in told
    assert "the plan 'mine.yaml' is done: 1 failed, 1 succeeded" in told
    assert f"http://127.0.0.1:{installation.settings.port}/status" in told
    told_before = len(webhook.got)
    installation.start_daemon("--until-empty").wait(60)
    assert len(webhook.got) == told_before, "a restart repeats nothing"
    log = installation.settings.daemon_log_path.read_text()
    state = (installation.settings.state_dir / "notify-state.json").read_text()
    assert SECRET not in log + state


def test_many_failures_are_one_message_and_a_server_that_fails_is_told_when_it_is_back(
    installation, webhook, monkeypatch
):
    destinations(installation, f'[hook]\nurl = "{webhook.url}"\nquiet = "10m"\nevents = ["job_failed"]\n')
    installation.enqueue({**NAIVE, "name": "first"})
    look(installation)
    fail_jobs(installation, 200)
    webhook.status = 500
    now = notifier.clock.epoch_s()
    monkeypatch.setattr(notifier.clock, "epoch_s", lambda: now)  # the commands below take as long as they like
    look(installation)
    [words] = failures(installation.settings)
    assert "hook has not been told" in words
    assert "500" in words
    assert SECRET not in words + installation.doctor() + installation.cli("notify", "list", "--json")
    webhook.status = 200
    look(installation)
    assert webhook.got == [], "it waits before it tries again"
    assert 0 < read_state(installation.settings).next_in_s <= notifier.FIRST_RETRY_S
    monkeypatch.setattr(notifier.clock, "epoch_s", lambda: now - 30 * 86_400)  # a clock set back keeps nothing waiting
    look(installation)
    [told] = webhook.got
    everywhere = replace(installation.settings, host="::", port=80)
    assert message_of(everywhere, [], {"test": 1}).content["page"] == "http://[::1]:80/status"
    assert told["title"] == "cbi-queue: 200 jobs failed"
    assert "and 180 more" in told["message"]
    assert failures(installation.settings) == []
    fail_jobs(installation, 3)
    look(installation)
    assert len(webhook.got) == 1, "quiet"
    monkeypatch.setattr(notifier.clock, "epoch_s", lambda: now - 29 * 86_400)
    look(installation)
    assert [each["title"] for each in webhook.got][1:] == ["cbi-queue: 3 jobs failed"]


def test_a_hold_is_told_once_it_lasts_and_nothing_is_sent_when_it_cannot_be_kept(installation, webhook, monkeypatch):
    destinations(installation, f'[hook]\nurl = "{webhook.url}"\nheld_longer_than = "30m"\nquiet = "0s"\n')
    installation.enqueue({**NAIVE, "name": "first"})
    with installation.ledger() as ledger:
        place_hold(ledger, HoldReason.USER, HoldMode.PAUSE, "too hot here")
    look(installation)
    now = notifier.clock.epoch_s()
    assert webhook.got == []
    monkeypatch.setattr(notifier.clock, "epoch_s", lambda: now + 3_600)

    def no_space(*_arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(notifier, "write_state", no_space)
        with pytest.raises(OSError, match="No space"):
            look(installation)
    assert webhook.got == []
    for _ in range(3):
        look(installation)
    assert [each["title"] for each in webhook.got] == ["cbi-queue: slot held"]
    assert "60 min: too hot here" in webhook.got[0]["message"] or "1 h: too hot here" in webhook.got[0]["message"]


def test_an_eviction_a_full_disk_and_a_stuck_week_are_told_once_by_webhook_and_command(
    installation, webhook, monkeypatch
):
    """What no test with a daemon tells: by the functions with which the slot and its governor write."""
    hook = CommandHook(installation, f'[hook]\nurl = "{webhook.url}"\nquiet = "0s"\n')
    installation.enqueue({**NAIVE, "name": "first"}, {**NAIVE, "name": "second", "needs": ["first"]})
    look(installation)
    governor = GovernorHold()
    with installation.ledger() as ledger:
        for action, words in ((Action.PAUSE, "too hot"), (Action.EVICT, "memory is critical: 1.0 GiB are free")):
            governor.carry_out(Decision(0.0, action, Cause.MEMORY, words, figures={"for_s": 60.0}))
            assert governor.copy_to(ledger)
        governor.end("there is room")
        governor.copy_to(ledger)
        job = claims.peek(ledger)
        claims.claim(ledger, job.id)
        settlement.fail(ledger, job.id, Outcome.ERROR, Reason.BROKEN_SPEC, "no column 'price'")
    monkeypatch.setattr(happenings, "LOW_SPACE_GIB", 1e9)
    for _ in range(2):
        look(installation)

    assert [event for event, _ in hook.told] == ["evicted", "job_failed", "week_stuck", "disk_low", "disk_low"]
    words = dict(hook.told)
    assert words["evicted"].startswith("the governor evicted the job in the slot: memory is critical")
    assert words["week_stuck"].endswith("1 waiting for a job that did not succeed; 1 job failed")
    assert f"GiB are free on the disk of the data folder {installation.settings.repo}" in words["disk_low"]
    [told] = webhook.got
    assert told["title"] == ("cbi-queue: job evicted, job failed, nothing can run, 2 times disk nearly full")
    assert all(each in told["message"] for each in words.values())

    monkeypatch.undo()
    look(installation)
    monkeypatch.setattr(happenings, "LOW_SPACE_GIB", 1e9)
    look(installation)
    assert [event for event, _ in hook.told][5:] == ["disk_low", "disk_low"], "it was over, and is the case again"


def test_a_notifier_killed_after_it_sent_repeats_the_message_once_and_loses_none(installation, webhook):
    destinations(installation, f'[hook]\nurl = "{webhook.url}"\nevents = ["job_failed"]\n')
    installation.enqueue({**NAIVE, "name": "first"})
    look(installation)
    fail_jobs(installation, 1)
    webhook.status = None
    command = [sys.executable, "-P", "-m", "cbi_queue.notifications"]
    child = subprocess.Popen(command, env={**os.environ, **installation.environ})
    until(lambda: len(webhook.got) == 1, "the message is there")
    child.kill()
    child.wait()
    [words] = failures(installation.settings)
    assert words == "hook has not been told: the last attempt was cut off"
    path = installation.settings.state_dir / "notify-state.json"
    kept = path.read_text()
    path.write_text(json.dumps({**json.loads(kept), "next_in_s": "soon"}))
    assert read_state(installation.settings) is None, "the daemon reckons with it"
    path.write_text(kept)
    webhook.status = 200
    for _ in range(2):
        look(installation, last=True)
    assert [each["title"] for each in webhook.got] == ["cbi-queue: job failed"] * 2


def test_commands_get_the_message_and_cannot_keep_anyone_waiting(installation, tmp_path):
    def script(name: str, text: str, mode: int = 0o700) -> str:
        path = tmp_path / name
        path.write_text(f"#!{sys.executable}\n{text}")
        path.chmod(mode)
        return str(path)

    kept = tmp_path / "kept.json"
    good = f"import os, sys; open({str(kept)!r}, 'w').write(os.environ['NOTIFY_EVENT'] + sys.stdin.read())"
    commands = {
        "good": script("good", good),
        "hangs": script("hangs", "import time; print('x', flush=True); time.sleep(600)"),
        "chatty": script("chatty", "print('y' * 10_000_000); raise SystemExit(3)"),
        "leaves": script("leaves", "import os, time\nif not os.fork(): time.sleep(600)"),
        "absent": str(tmp_path / "absent"),
        "plain": script("plain", "", 0o600),
    }
    limits = {name: "2s" if name == "hangs" else "60s" for name in commands}
    text = "".join(f'[{name}]\ncommand = ["{path}"]\ntimeout = "{limits[name]}"\n' for name, path in commands.items())
    destinations(installation, text)
    told = json.loads(installation.cli("notify", "test", "--json", code=1))
    found = {each["destination"]: each["failure"] for each in told}
    assert found["good"] is None
    assert found["leaves"] is None
    assert "did not end within 2 s" in found["hangs"]
    assert "exit code 3: yyy" in found["chatty"]
    assert len(found["chatty"]) < 1_000
    assert found["absent"].endswith("No such file or directory")
    assert found["plain"].endswith("Permission denied")
    event, _, body = kept.read_text().partition("{")
    assert event == "test"
    assert json.loads("{" + body)["events"][0]["words"] == "This is a test of cbi-queue."
    assert "did you mean" in installation.cli("notify", "test", "goood", code=2)
    destinations(installation, "")
    assert "nobody is told anything" in installation.cli("notify", "test", code=2)
    with pytest.raises(Refused, match="there is no destination 'good': /nowhere is not there"):
        named([], "good", Path("/nowhere"))


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [
        ('[a]\nurl = "json://u:hunter2secret@x"\n', 0o644, "chmod 600"),
        ('[a]\nurl = "hunter2secret"\n', 0o600, ":2: `url` is not an address"),
        ('[a]\nurl = "json://hunter2secret"\ncommand = ["/x"]\n', 0o600, "either `url` or `command`"),
        ('[a]\ncommand = "rm -rf /"\n', 0o600, "not run by a shell"),
        ('[a]\ncommand = ["x"]\n', 0o600, "absolute path"),
        ('[a]\nurl = "json://x"\nevents = ["job_faild"]\n', 0o600, "job_failed"),
        ('[a]\nurl = "json://x"\nquiet = "often"\n', 0o600, "such as 10m"),
        ('[a]\nurll = "json://hunter2secret"\n', 0o600, "url"),
        ("a = 3\n", 0o600, "a destination is a table"),
    ],
)
def test_a_bad_file_is_refused_whole_without_showing_an_address(installation, text, mode, words):
    destinations(installation, text, mode)
    with pytest.raises(SettingsError) as refused:
        read_destinations(installation.settings)
    told = f"{refused.value.message} {refused.value.hint}"
    assert words in told
    assert SECRET not in told


def test_two_notifiers_never_send_at_once(installation, webhook):
    destinations(installation, f'[hook]\nurl = "{webhook.url}"\nquiet = "0s"\n')
    installation.enqueue({**NAIVE, "name": "first"})
    look(installation)
    fail_jobs(installation, 1)
    command = [sys.executable, "-P", "-m", "cbi_queue.notifications"]
    children = [subprocess.Popen(command, env={**os.environ, **installation.environ}) for _ in range(3)]
    until(lambda: all(child.poll() is not None for child in children), "the notifiers end")
    assert len(webhook.got) == 1
