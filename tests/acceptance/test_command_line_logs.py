"""`cbi-queue logs`: into a pipe, onto a terminal, and while the trainer writes."""

from __future__ import annotations

import os
import pty
import subprocess

from support.command_installation import EXECUTABLE
from support.ledger_rows import job
from support.waiting import until

from cbi_queue.ledger.claims import claim, record_trainer
from cbi_queue.ledger.settlement import finish


def test_a_log_is_printed_as_it_is_into_a_pipe(home):
    assert home.run("logs", "net-1w") == "first line\nümlaut\n\x1b[2Jcleared\nlast line\n"
    assert home.run("logs", "net-1w", "-n", "1") == "last line\n"
    assert home.run("logs", "net-1w", "-n", "0") == ""
    assert "has no attempt 3; it has only attempt 1" in home.run("logs", "net-1w", "--attempt", "3", code=2)
    assert "there is no log of job 7 naive-held-1w: it has not started yet" in home.run("logs", "naive-held-1w", code=2)
    (home.settings.training_log_dir / "net-1w.log").unlink()
    with home.ledger() as ledger:
        ledger.conn.execute("UPDATE attempts SET log_path = '/nowhere/at-all.log' WHERE log_path IS NOT NULL")
    assert "cannot read the log /nowhere/at-all.log: No such file" in home.run("logs", "net-1w", code=2)


def test_a_log_cannot_clear_the_terminal(home):
    master, slave = pty.openpty()
    child = subprocess.Popen([EXECUTABLE, "logs", "net-1w"], env=home.environ, stdin=slave, stdout=slave, stderr=slave)
    child.wait(60)
    os.close(slave)
    said = os.read(master, 10_000).decode()
    os.close(master)

    assert said.splitlines() == ["first line", "ümlaut", "\\x1b[2Jcleared", "last line"]


def test_a_followed_log_is_printed_whole_over_roll_overs_and_attempts(home):
    """What is printed around a roll-over, and half a letter at the end of a read, must not be lost."""
    log = home.settings.training_log_dir / "net-1w.log"
    with home.ledger() as ledger:
        ledger.conn.execute("UPDATE attempts SET log_path = ?", (str(log),))
        child = home.start("logs", "-f", "net-1w")
        seen = bytearray()
        os.set_blocking(child.stdout.fileno(), False)

        def printed(text):
            seen.extend(child.stdout.read() or b"")
            return text.encode() in seen

        until(lambda: printed("last line\n"), "the log so far")
        with log.open("ab") as stream:
            stream.write("before ü".encode()[:-1])
        until(lambda: printed("before "), "the line as far as it came")
        with log.open("ab") as stream:
            stream.write("before ü".encode()[-1:] + b"\nat the end of the old file\n")
        log.rename(f"{log}.1")
        log.write_text("a new file that is longer than the old one was: " + "x" * 500 + "\n")
        until(lambda: printed("xxx\n"), "the new file")

        number = job(ledger, "net-1w").id
        second = home.settings.training_log_dir / "second.log"
        second.write_text("second attempt\n")
        attempt = claim(ledger, number)
        record_trainer(ledger, attempt.id, pid=1, started=0.0, log_path=str(second), run_dir="/run", settings={})
        until(lambda: printed("second attempt\n"), "the second attempt")
        with second.open("a") as stream:
            stream.write("the very end\n")
        finish(ledger, number, metrics={})
    child.wait(60)

    assert printed("the very end\n")
    assert b"before \xc3\xbc\nat the end of the old file\na new file" in seen
    child.stdout.close()
    child.stderr.close()
