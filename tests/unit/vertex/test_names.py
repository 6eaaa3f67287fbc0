"""The dual names of a package follow the convention, stay legal for Vertex, and count up by what exists."""

from __future__ import annotations

import re
import shlex

import pytest

from cbi_queue.models.kinds import HORIZONS, Family
from cbi_queue.vertex.commands import REPLICAS, commands_for
from cbi_queue.vertex.names import names_of, shelf_name, versions_in

LEGAL_ID = re.compile(r"[a-z][a-z0-9-]{0,61}[a-z0-9]\Z")
DASH = "\N{EN DASH}"


def test_names_are_those_of_the_convention() -> None:
    names = names_of(Family.ADVANCED_NEURAL, "1m", "default", 1)
    assert (names.model_id, names.endpoint_id) == ("cbi-zl-1m-v01", "cbi-zl-1m-endpoint")
    assert names.display_name == f"CBI V14 Vertex {DASH} Neural 1M v01"
    assert names.endpoint_name == f"CBI V14 Vertex {DASH} 1M Endpoint"
    assert names_of(Family.TREES, "12m", "default", 12).display_name == f"CBI V14 Vertex {DASH} Trees 12M v12"
    assert names.bucket_path == "1m/v01"


@pytest.mark.parametrize("dataset", ["wti", "zl", "soy.meal", "soy-meal", "x" * 80, "9lives", "a_b", "a-b"])
def test_another_data_set_has_legal_names_of_its_own(dataset: str) -> None:
    found = {names_of(Family.TREES, horizon, dataset, 100) for horizon in HORIZONS}
    assert all(LEGAL_ID.match(name) for names in found for name in (names.model_id, names.endpoint_id))
    default = {names_of(Family.TREES, horizon, "default", 100).model_id for horizon in HORIZONS}
    assert default.isdisjoint(names.model_id for names in found)


def test_data_sets_with_similar_names_do_not_share_an_id() -> None:
    names = ["soy.meal", "soy-meal", "soy_meal", "x" * 60, "x" * 61]
    assert len({names_of(Family.TREES, "1m", name, 1).model_id for name in names}) == len(names)
    assert len({shelf_name("1m", name) for name in [*names, "default", "1m"]}) == len(names) + 2


def test_versions_are_found_by_looking(tmp_path) -> None:
    assert versions_in(tmp_path / "absent") == []
    for name in ("v02", "v10", "v100", "v1", "vx", ".export-a.part", "v03.bak"):
        (tmp_path / name).mkdir()
    assert versions_in(tmp_path) == [2, 10, 100]


def test_the_commands_use_flags_of_today() -> None:
    """The id is set by --model-id; the seed's prebuilt image and its undefined $MODEL_ID are gone."""
    commands = commands_for(names_of(Family.TREES, "1m", "default", 3))
    upload = next(shlex.split(command) for command in commands if " models upload " in command)
    assert "--model-id=cbi-zl-1m-v03" in upload
    assert f"--display-name=CBI V14 Vertex {DASH} Trees 1M v03" in upload
    assert {"--container-health-route=/health", "--container-predict-route=/predict"} <= set(upload)
    assert not any("$" in command or "tf2-cpu" in command for command in commands)
    deploy = shlex.split(commands[-1])
    assert "--min-replica-count=1" in deploy
    assert "--min-replica-count=0" in REPLICAS, "what the seed asked for, and why it is a preview"
