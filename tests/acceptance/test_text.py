"""Headlines from the command line: what is missing is named in the order in which one meets it, with what to type."""

from __future__ import annotations

import json
import shutil

import pytest
from support.light_libraries import light_libraries
from support.tiny_bert import headline, make_tiny_bert

PLAN = """
day: 0
jobs:
  - {name: sentiment, family: sentiment, model: finbert, horizon: 1w}
  - {name: features, family: features, model: feature_cache, horizon: 1w, needs: [sentiment]}
"""


@pytest.fixture
def site(home, sample_exports):
    """The prepared installation with real prices, headlines, a plan, and weights of a tiny BERT made at random."""
    shutil.copy(sample_exports / "production_training_data_1w.parquet", home.settings.exports_dir)
    (home.settings.processed_dir / "1w_features.parquet").unlink()
    make_tiny_bert(home.root / "tiny")
    make_tiny_bert(home.root / "tuned", seed=3)
    rows = [f"2018-{1 + n // 28:02d}-{1 + n % 28:02d}T09:00:00Z,{headline(n)}" for n in range(300)]
    (home.root / "news.csv").write_text("\n".join(["time,headline", *rows, ""]))
    (home.root / "plan.yaml").write_text(PLAN)
    return home


def test_each_step_names_the_next_one_until_the_plan_is_right(site) -> None:
    assert "has no headlines; `cbi-queue text import FILE` brings them in" in site.run(
        "plan", "check", "plan.yaml", code=2
    )
    assert "has no headlines to use a model for" in site.run("text", "use", "tiny", code=2)
    assert "`cbi-queue text use FOLDER`" in site.run("text", "import", "news.csv")
    assert "no model is chosen" in site.run("plan", "check", "plan.yaml", code=2)
    printed = site.run("text", "use", code=2, HF_HOME=str(site.root / "nowhere"))
    assert "ProsusAI/finbert is not on this machine" in printed
    assert "save_pretrained" in printed
    site.run("text", "use", "tiny")
    site.run("plan", "check", "plan.yaml")

    (site.root / "plan.yaml").write_text(PLAN.replace(", needs: [sentiment]", ""))
    assert "add a finbert job of that data set" in site.run("plan", "check", "plan.yaml", code=2)
    (site.root / "tiny" / "model.safetensors").write_bytes(b"{}")
    assert "model.safetensors is damaged" in site.run("plan", "check", "plan.yaml", code=2)
    shown = site.json("text", "show")
    assert shown["scored"] is False
    assert "model.safetensors is damaged" in shown["model_fault"]
    findings = site.run("doctor", code=1, **light_libraries())
    assert "headlines of default: cannot use the model" in findings


def test_a_dry_run_and_a_refusal_change_nothing(site) -> None:
    site.run("text", "import", "news.csv", "--dry-run", "--yes")
    assert "is no time zone" in site.run("text", "import", "news.csv", "--zone", "Mars", code=2)
    assert "headlines.close is '25:99'" in " ".join(
        site.run("text", "import", "news.csv", "--close", "25:99", code=2).split()
    )
    assert not list(site.settings.exports_dir.glob("*headlines*"))
    assert not list(site.settings.exports_dir.glob(".text-*"))
    assert site.json("text", "show")["headlines"] is None


def test_a_model_replaces_another_one_only_after_an_evaluation(site) -> None:
    site.run("text", "import", "news.csv")
    site.run("text", "use", "tiny")
    assert "has not been evaluated; nothing was changed" in site.run("text", "use", "tuned", code=2)
    assert "`cbi-queue text export-training` comes first" in site.run("text", "evaluate", "tuned", code=2)
    written = site.json("text", "export-training", "--out", "training.csv")
    assert written["training_rows"] > 100
    assert "is there already" in site.run("text", "export-training", "--out", "training.csv", code=2)

    found = site.json("text", "evaluate", "tuned")
    chosen = site.json("text", "use", "tuned")

    assert chosen["replaced"] is True
    assert chosen["evaluation"]["verdict"] == found["verdict"]
    description = json.loads((site.settings.exports_dir / "dataset.json").read_text())
    assert description["headlines"]["model_sha256"] == found["sha256"]


def test_the_close_is_chosen_and_taken_back_and_is_part_of_the_snapshot(site) -> None:
    site.run("text", "import", "news.csv")
    before = site.json("data", "show")["snapshots"]["1w"]
    site.run("data", "edit", "headlines.close=14:30", "headlines.close_zone=America/New_York")
    assert site.json("data", "show")["snapshots"]["1w"] != before
    site.run("data", "edit", "headlines.close=null", "headlines.close_zone=null")
    assert site.json("data", "show")["snapshots"]["1w"] == before
    assert "the name of a time zone" in site.run("data", "edit", "headlines.close_zone=Mars", code=2)
