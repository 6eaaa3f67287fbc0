"""Ledgers of every age come up to the present schema with their rows, whole or not at all.

The files `tests/data/ledgers/schema-N.db` were made once, by the version that had N migrations, and are never made
anew. A new migration adds the file of the schema before it: run this module with the number, `python
tests/integration/test_migrations.py N`.
"""

from __future__ import annotations

import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
from support.ledger_rows import add, dump, finished, job, python

from cbi_queue.errors import LedgerError
from cbi_queue.ledger import Ledger, queries
from cbi_queue.ledger.claims import claim
from cbi_queue.ledger.migrations import MIGRATIONS, migrate
from cbi_queue.ledger.schema import SCHEMA_VERSION, ensure_schema, schema_version
from cbi_queue.ledger.settlement import finish

FILES = Path(__file__).parents[1] / "data" / "ledgers"
OLD = range(1, SCHEMA_VERSION + 1)

SPEC = (
    '{"backend":"native","day":1,"family":"statistical","horizon":"1w","model":"naive","name":"old-naive","needs":[],'
    '"params":{"backtest_rows":504,"embargo_rows":21,"seed":0,"validation_rows":504},"priority":3,"retries":1,'
    '"timeout_s":null}'
)
ROWS = {
    1: f"""
        INSERT INTO plans VALUES (1, 'old.yaml', 'old plan', 1, 1000.0);
        INSERT INTO jobs (id, plan_id, day, name, family, model, horizon, backend, spec, identity, state, reason,
                          priority, retries, enqueued_at, changed_at, ended_at)
        VALUES (1, 1, 1, 'old-naive', 'statistical', 'naive', '1w', 'native', '{SPEC}', 'abc', 'succeeded', 'done',
                3, 1, 1000.0, 1001.0, 1001.0),
               (2, 1, 1, 'old-next', 'statistical', 'naive', '1w', 'native', '{SPEC}', 'def', 'queued', 'enqueued',
                3, 1, 1000.0, 1001.0, NULL);
        INSERT INTO needs (job_id, needs_id) VALUES (2, 1);
    """,
    2: """
        INSERT INTO attempts (job_id, number, outcome, started_at, ended_at) VALUES (1, 1, 'success', 1000.5, 1001.0);
        INSERT INTO events (at, job_id, event, reason, source, target, words)
        VALUES (1001.0, 1, 'finish', 'done', 'running', 'succeeded', 'trained');
    """,
    3: """
        INSERT INTO holds VALUES ('user', 'pause', 'old words', 1000.0, NULL);
        INSERT INTO chores VALUES ('backup', 1, 1000.0);
    """,
}
"""What a version with that many migrations had in it, beside what the earlier ones had."""


def fill(path, version):
    with closing(sqlite3.connect(path)) as conn:
        for number in range(1, version + 1):
            conn.executescript(ROWS.get(number, ""))
        conn.execute("PRAGMA journal_mode = DELETE")


def assert_everything_is_there(path, version):
    assert schema_version(path) == SCHEMA_VERSION
    with Ledger.open(path) as ledger:
        old = job(ledger, "old-naive")
        assert (old.id, old.state, old.priority, old.spec["params"]["seed"]) == (1, "succeeded", 3, 0)
        assert queries.needs_of(ledger) == {2: [1]}
        assert [row.outcome for row in queries.attempts_of(ledger, 1)] == ["success"] * (version >= 2)
        assert [event.words for event in queries.events_of(ledger, 1)] == ["trained"] * (version >= 2)
        assert len(ledger.conn.execute("SELECT * FROM chores").fetchall()) == (version >= 3)
        assert ledger.conn.execute("PRAGMA foreign_key_check").fetchall() == []
        number = add(ledger, "new-naive", priority=9)
        if version < 3:
            claim(ledger, number)
            finish(ledger, number, metrics={})
            assert job(ledger, number).state == "succeeded"


def schema_of(path):
    with closing(sqlite3.connect(path)) as conn:
        return sorted(row[0] for row in conn.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL"))


def test_the_version_counts_the_migrations():
    assert len(MIGRATIONS) == SCHEMA_VERSION


def test_a_file_of_every_schema_is_kept():
    """Old ledgers must load for ever; see the head of this module."""
    assert sorted(path.name for path in FILES.glob("*.db")) == [f"schema-{version}.db" for version in OLD]


@pytest.mark.parametrize("version", OLD)
def test_a_ledger_of_an_earlier_version_keeps_its_rows(tmp_path, new_ledger, version):
    path = Path(shutil.copy(FILES / f"schema-{version}.db", tmp_path / "ledger.db"))
    assert schema_version(path) == version
    with closing(sqlite3.connect(path)) as conn:
        identity = conn.execute("SELECT value FROM meta WHERE key = 'ledger_id'").fetchone()[0]

    ensure_schema(path)

    assert_everything_is_there(path, version)
    assert schema_of(path) == schema_of(new_ledger)
    with Ledger.open_readonly(path) as ledger:
        assert ledger.ledger_id == identity, "run folders are signed with it"


@pytest.mark.parametrize("version", OLD)
def test_the_migrations_of_today_lead_to_the_same_ledger_from_every_age(tmp_path, new_ledger, version):
    path = tmp_path / "ledger.db"
    assert migrate(path, upto=version) == version
    fill(path, version)

    assert migrate(path) == SCHEMA_VERSION - version
    assert migrate(path) == 0

    assert_everything_is_there(path, version)
    assert schema_of(path) == schema_of(new_ledger)
    assert path.stat().st_mode & 0o077 == 0


def test_a_ledger_of_a_newer_version_is_refused_and_left_alone(ledger_path):
    with closing(sqlite3.connect(ledger_path)) as conn:
        conn.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    before = dump(ledger_path)

    for opened in (Ledger.open, Ledger.open_readonly):
        with pytest.raises(LedgerError, match=f"has schema {SCHEMA_VERSION + 1}") as refused:
            opened(ledger_path)
        assert "upgrade" in refused.value.hint
    assert dump(ledger_path) == before


def test_a_migration_that_fails_rolls_back_whole(tmp_path, monkeypatch):
    """Tables without their record, or the record without its tables, could never be migrated again."""
    path = tmp_path / "ledger.db"
    migrate(path)
    before, schema = dump(path), schema_of(path)

    def half_done(db):
        db.table("half").create({"id": int})
        db.table("half").insert({"id": 1})
        db.table("meta").insert({"key": "half", "value": "done"})
        db.execute("INSERT INTO nowhere VALUES (1)")

    monkeypatch.setattr("cbi_queue.ledger.migrations.MIGRATIONS", (*MIGRATIONS, half_done))
    with pytest.raises(LedgerError, match="nowhere"):
        migrate(path)

    assert (dump(path), schema_of(path), schema_version(path)) == (before, schema, SCHEMA_VERSION)


def test_a_ledger_that_cannot_be_migrated_says_so_and_stays_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "ledger.db"
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("CREATE VIEW jobs AS SELECT 1 AS something")
    before = dump(path)

    with pytest.raises(LedgerError, match=r"cannot migrate the ledger .* from schema 0 to \d+: (?!cbi_queue)"):
        ensure_schema(path)

    assert dump(path) == before
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(LedgerError, match=f"cannot write the ledger .* may not write to {tmp_path}$") as refused:
        ensure_schema(path)
    assert refused.value.hint == "make the folder its own, or set CBI_STATE_DIR to another one"


OPENER = """
import sys
from pathlib import Path
from cbi_queue.ledger.migrations import migrate
print("ready", flush=True); sys.stdin.readline()
print(migrate(sys.argv[1]))
"""


def test_processes_that_migrate_at_once_apply_each_step_once(tmp_path):
    path = tmp_path / "ledger.db"
    children = [python(OPENER, path) for _ in range(3)]
    for child in children:
        assert child.stdout.readline() == "ready\n"
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()

    assert sum(int(finished(child)) for child in children) == SCHEMA_VERSION
    assert schema_version(path) == SCHEMA_VERSION


def test_a_file_that_is_no_database_is_told_with_how_to_restore(tmp_path):
    path = tmp_path / "ledger.db"
    path.write_bytes(b"certainly not a database\n" * 100)

    with pytest.raises(LedgerError, match="not a database") as refused:
        Ledger.open(path)

    assert "cbi-queue restore newest" in (refused.value.hint or "")
    assert path.read_bytes() == b"certainly not a database\n" * 100


def test_looking_at_the_version_makes_no_file(tmp_path):
    assert schema_version(tmp_path / "ledger.db") == 0
    assert list(tmp_path.iterdir()) == []


def test_a_new_ledger_is_for_its_owner_only_and_has_an_identity_of_its_own(tmp_path):
    identities = set()
    for name in ("one.db", "two.db"):
        with Ledger.open(tmp_path / name) as ledger:
            identities.add(ledger.ledger_id)
        assert (tmp_path / name).stat().st_mode & 0o077 == 0
    assert len(identities) == 2


def test_a_migration_runs_in_a_process_of_its_own_wherever_the_verb_was_called(tmp_path):
    """A file of the working folder must not be taken for a library."""
    (tmp_path / "sqlite_utils.py").write_text("raise SystemExit('the wrong one')")
    code = "import sys; from pathlib import Path; from cbi_queue.ledger import Ledger; Ledger.open(Path(sys.argv[1]))"
    child = python(f"import os; os.chdir({str(tmp_path)!r})\n{code}", tmp_path / "ledger.db", PYTHONSAFEPATH="")

    finished(child)

    assert schema_version(tmp_path / "ledger.db") == SCHEMA_VERSION


def _make(version: int) -> None:
    FILES.mkdir(parents=True, exist_ok=True)
    path = FILES / f"schema-{version}.db"
    migrate(path, upto=version)
    fill(path, version)


if __name__ == "__main__":
    _make(int(sys.argv[1]))
