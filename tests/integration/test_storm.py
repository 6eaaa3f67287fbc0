"""The promise of the project: kills at random moments lose nothing, double nothing and change no bit."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

import pytest
from support.storm import EVERY_MODEL, Storm, one_of_each_file

if TYPE_CHECKING:
    from support.installation import Installation

KILLS = int(os.environ.get("STORM_KILLS", "30"))
SEED = int(os.environ.get("STORM_SEED", random.SystemRandom().randrange(2**32)))


@pytest.mark.torture
@pytest.mark.timeout(7200)
def test_kills_of_daemon_and_trainer_change_nothing(
    installation: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    """STORM_KILLS, STORM_SEED and STORM_MODELS=all choose how many, which dice, and every model instead of one of each file.

    Keras takes part where its Python is named.
    """
    interpreter = os.environ.get("CBI_TEST_TENSORFLOW_PYTHON")
    if interpreter:
        (installation.root / "config.toml").write_text(f'[runtimes]\ntensorflow = "{interpreter}"\n')
    models = EVERY_MODEL if os.environ.get("STORM_MODELS") == "all" else one_of_each_file(SEED)
    storm = Storm(installation, SEED, ("tensorflow",) if interpreter else (), models)
    with capsys.disabled():
        print(f"\nstorm: {KILLS} kills, {len(models)} models, seed {SEED}", flush=True)
    storm.rage(KILLS)
    faults = storm.faults()
    with capsys.disabled():
        print(storm.table())
    assert not faults
    assert storm.kills.total() >= KILLS
    assert {kind.partition("-")[0] for kind in storm.rows} == set(models)
