"""`show --why` in words: what may be luck never looks like skill, and a planted file says nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from support.api_installation import scores
from support.board_jobs import make_job

from cbi_queue.artifacts import Manifest, complete_folder
from cbi_queue.cli.explanation_view import print_explanation
from cbi_queue.views.explanation import LIGHT, explanation_of, luck_words


def column(name, importance, low, high, *, told, features=1):
    """One entry of the list of importances."""
    spread = {"se_repeats": 0.01 if importance else 0.0, "low": low, "high": high}
    return {"column": name, "features": features, "importance": importance, "told_apart": told, **spread}


FOUND = {
    "fit": "the only fit",
    "forecast_factor": 0.5,
    "importance": [
        column("news", 0.2, 0.1, 0.3, told=True, features=3),
        column("luck", 0.1, -0.1, 0.3, told=False),
        column("few", 0.05, None, None, told=None),
        column("idle", 0.0, 0.0, 0.0, told=False),
    ],
    "measured_on": {"samples": 504, "first": "2014-01-01", "last": "2016-01-01", "repeats": 5},
    "contributions": {
        "date": "2018-12-31",
        "before_any": 0.01,
        "forecast": 0.03,
        "columns": [{"column": "news", "adds": 0.03}, {"column": "luck", "adds": -0.01}],
    },
}


def run(tmp_path, body=FOUND, skill=0.05, se=0.1, p=0.5, **changes):
    """A finished job whose folder holds *body* as why.json."""
    folder = tmp_path / "run"
    folder.mkdir()
    if body is not None:
        (folder / "why.json").write_text(body if isinstance(body, str) else json.dumps(body))
    metrics = {**scores(skill, se=se, p=p), "forecast": {"price": 50.0}, **changes}
    complete_folder(folder, Manifest("ledger", 1, 1, "1"))
    return make_job(1, "lightgbm_dart", 0, metrics=metrics, run_dir=str(folder))


def printed(job, capsys):
    print_explanation(job, Path(job.run_dir).parent)
    return capsys.readouterr().out


def test_bars_fit_80_columns_and_only_what_is_told_apart_has_a_full_one(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    said = printed(run(tmp_path), capsys)
    lines = said.splitlines()
    assert max(map(len, lines)) <= 80
    by_column = {line.split()[0]: line for line in lines if line.strip()}
    assert "█" * 20 in next(line for line in lines if line.startswith("news (3)"))
    assert LIGHT * 10 in by_column["few"] or LIGHT * 5 in by_column["few"]
    assert "█" not in "".join(line for line in lines if line.startswith(("luck (", "few", "idle")))
    assert "too few" in by_column["few"]
    assert "unused" in by_column["idle"]
    assert "1 of 4 columns is told apart from zero" in said
    assert "+1.50 %" in said, "the forecast is half of what the trees say"
    assert "after shrinking to 50 %" in " ".join(said.split())


@pytest.mark.parametrize(
    ("skill", "se", "words"),
    [(0.05, 0.1, "Not told apart from naive"), (0.3, 0.01, "Better than naive"), (-0.3, 0.01, "Worse than naive")],
)
def test_what_may_be_believed_of_the_model_stands_above_its_bars(tmp_path, capsys, skill, se, words):
    said = printed(run(tmp_path, skill=skill, se=se), capsys)
    assert said.splitlines()[1].startswith(words)
    assert said.index(words) < said.index("What its forecasts depend on")


def test_a_model_that_was_shrunk_to_naive_says_that_nothing_counts(tmp_path):
    assert "counts for nothing" in luck_words(run(tmp_path, shrinkage=0))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (None, "has no features to weigh"),
        ("not JSON", "cannot be read; `cbi-queue verify"),
        ("[1, 2]", "cannot be read"),
    ],
)
def test_what_is_not_there_or_cannot_be_read_is_said(tmp_path, body, words):
    assert words in explanation_of(run(tmp_path, body), tmp_path).missing


def test_a_file_that_the_manifest_does_not_name_is_not_believed(tmp_path):
    job = run(tmp_path, body=None)
    (tmp_path / "run" / "why.json").write_text(json.dumps(FOUND))
    assert explanation_of(job, tmp_path).found == {}


def test_a_file_that_was_changed_since_the_run_is_not_believed(tmp_path):
    job = run(tmp_path)
    assert explanation_of(job, tmp_path).found == FOUND
    (tmp_path / "run" / "why.json").write_text('{"importance": NaN}')
    assert "cannot be read; `cbi-queue verify" in explanation_of(job, tmp_path).missing
    other = replace(job, identity="another training")
    assert explanation_of(other, tmp_path).missing.endswith("belongs to another job now")


def test_a_recorded_folder_outside_the_models_is_not_read_and_one_that_moved_with_them_is(tmp_path):
    job = run(tmp_path)
    models, shelf = tmp_path / "Models", tmp_path / "Models" / "local" / "1w"
    shelf.mkdir(parents=True)
    assert "lies outside" in explanation_of(job, models).missing
    linked = replace(job, run_dir=str(models / "link"))
    (models / "link").symlink_to(tmp_path / "run")
    assert "lies outside" in explanation_of(linked, models).missing
    (tmp_path / "run").rename(shelf / "run")
    moved = replace(job, run_dir="/gone/Models/local/1w/run")
    assert explanation_of(moved, models).found == FOUND


def test_a_file_that_is_nested_too_deeply_breaks_nothing(tmp_path):
    assert "cannot be read" in explanation_of(run(tmp_path, "[" * 200_000), tmp_path).missing


def test_a_lead_is_told_to_be_one_of_many(tmp_path):
    """The board may call the same lead luck: it corrects for how many models were tried."""
    assert "corrects for their number" in luck_words(run(tmp_path, skill=0.3, se=0.01))


def test_a_link_in_its_place_is_not_followed(tmp_path):
    job = run(tmp_path)
    (tmp_path / "elsewhere.json").write_text(json.dumps(FOUND))
    (tmp_path / "run" / "why.json").unlink()
    (tmp_path / "run" / "why.json").symlink_to(tmp_path / "elsewhere.json")
    assert "cannot be read" in explanation_of(job, tmp_path).missing


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"importance": [1, {"column": "a"}], "contributions": {"columns": "x"}, "measured_on": 5},
        {
            "importance": [{"column": "a\u001b[2J", "importance": 0.1}],
            "measured_on": {},
            "contributions": {"columns": [{}]},
        },
    ],
)
def test_a_strange_file_breaks_nothing(tmp_path, capsys, body):
    assert "\u001b[2J" not in printed(run(tmp_path, body), capsys)
