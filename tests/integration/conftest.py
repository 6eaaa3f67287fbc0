"""What integration tests share: a ledger of its own, a governed slot or installation, a queue and a client of its status page."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from support.api_installation import ApiInstallation
from support.exports import EXPORT
from support.fakes import ScriptedChannel, make_task
from support.scripted_slot import QUICK, ScriptedSlot

from cbi_queue.ledger import Ledger
from cbi_queue.protocol import Note

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import polars as pl
    from starlette.testclient import TestClient
    from support.installation import Installation


@pytest.fixture
def ledger_path(new_ledger: Path, tmp_path: Path) -> Path:
    """An empty ledger of its own."""
    return shutil.copy(new_ledger, tmp_path / "ledger.db")


@pytest.fixture
def ledger(ledger_path: Path) -> Iterator[Ledger]:
    """An empty ledger of its own, open for writing."""
    with Ledger.open(ledger_path, patience_s=1.0) as opened:
        yield opened


@pytest.fixture
def make_slot(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], ScriptedSlot]]:
    """Make a slot whose governor is in the mode given."""
    made: list[ScriptedSlot] = []

    def make(mode: str) -> ScriptedSlot:
        made.append(ScriptedSlot(tmp_path, ledger, monkeypatch, mode=mode))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def slot(make_slot: Callable[[str], ScriptedSlot]) -> ScriptedSlot:
    """A slot whose governor acts."""
    return make_slot("on")


@pytest.fixture
def governed(installation: Installation) -> Installation:
    """An installation whose governor acts, quickly, on scripted sensors."""
    (installation.root / "profiles").mkdir()
    shutil.copy(QUICK, installation.root / "profiles" / "quick.toml")
    installation.overrides |= {"CBI_GOVERNOR": "on", "CBI_PROFILE": "quick", "CBI_SAMPLE_S": "0.2"}
    return installation


@pytest.fixture
def site(tmp_path: Path) -> ApiInstallation:
    """An empty queue of its own."""
    return ApiInstallation(tmp_path)


@pytest.fixture
def client(site: ApiInstallation) -> Iterator[TestClient]:
    """A client of the app over that queue, with the Host that a browser on this machine sends."""
    from starlette.testclient import TestClient

    from cbi_queue.api.app import create_app

    with TestClient(create_app(site.settings), base_url=site.url, follow_redirects=False) as client:
        yield client


@pytest.fixture
def bearer(site: ApiInstallation, client: TestClient) -> dict[str, str]:
    """The headers that changes ask for."""
    from cbi_queue.api.token import read_token

    return {"Authorization": f"Bearer {read_token(site.settings)}"}


@pytest.fixture
def panel(sample_exports: Path) -> pl.DataFrame:
    """The sample: date, price, sp500, nasdaq, and vix, which starts late."""
    import polars as pl

    return pl.read_parquet(sample_exports / EXPORT)


@pytest.fixture
def attempt(tmp_path: Path) -> Callable[..., tuple[str, list[str]]]:
    """Build features of a frame (None: no export at all); return the channel's reports and the cache's columns."""
    import polars as pl

    from jobs.families.feature_cache import FeatureCache

    def run(frame: pl.DataFrame | None, **params: object) -> tuple[str, list[str]]:
        for name in ("exports", "processed"):
            (tmp_path / name).mkdir(exist_ok=True)
        if frame is not None:
            frame.write_parquet(tmp_path / "exports" / EXPORT)
        channel = ScriptedChannel()
        spec = {"family": "features", "model": "feature_cache", "params": params}
        task = make_task(tmp_path / "run", spec, tmp_path / "processed", tmp_path / "exports", channel)
        family = FeatureCache()
        family.prepare(task)
        family.train(task)
        notes = "\n".join(note.text for note in channel.of_type(Note))
        return notes, pl.read_parquet_schema(tmp_path / "processed" / "1m_features.parquet").names()

    return run


@pytest.fixture
def on_the_line(site: ApiInstallation, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    """Call the command line on the queue of `site`; return exit code and everything that was said."""
    from cbi_queue.cli import cli
    from cbi_queue.errors import CbiError

    for name, value in site.environ.items():
        if name.startswith("CBI_"):
            monkeypatch.setenv(name, value)

    def call(*arguments: str, **environ: str) -> tuple[int, str]:
        done = CliRunner().invoke(cli, list(arguments), env=environ)
        said = done.output
        if isinstance(done.exception, CbiError):
            return done.exception.exit_code, f"{said}{done.exception.message} {done.exception.hint}"
        assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
        return done.exit_code, said

    return call
