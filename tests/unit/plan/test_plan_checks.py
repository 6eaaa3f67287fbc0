"""What must hold between jobs, between plans, and against machine, data and budget."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.plan_files import M4, accept, jobs, refuse

from cbi_queue import spec
from cbi_queue.budget import counts_as_model
from cbi_queue.datasets.inspection import Inspection, Request
from cbi_queue.models.catalogue import SHIPPED
from cbi_queue.models.kinds import REGIMES
from cbi_queue.plan import checks
from cbi_queue.spec import JobSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pytest


def features(name: str, horizon: str = "1w", needs: str = "") -> str:
    """One features job in flow style."""
    return f"- {{name: {name}, family: features, horizon: {horizon}, needs: [{needs}]}}\n"


def naive(name: str, horizon: str = "1w", needs: str = "") -> str:
    """One naive job in flow style."""
    return f"- {{name: {name}, family: statistical, model: naive, horizon: {horizon}, needs: [{needs}]}}\n"


def net(name: str, **params: int) -> str:
    """One feed-forward job in flow style."""
    written = ", ".join(f"{key}: {value}" for key, value in params.items())
    return f"- {{name: {name}, family: simple_neural, model: feed_forward, horizon: 1w, params: {{{written}}}}}\n"


def plan(*entries: str, day: int = 0) -> str:
    """A plan of *entries*."""
    return f"day: {day}\njobs:\n{''.join(entries)}"


def of_regimes(name: str, model: str, needs: str = "", **params: str) -> str:
    """One job of regimes in flow style."""
    family = "regime_classifier" if model == "regime_lightgbm" else "regime_specific"
    written = ", ".join(f"{key}: {value}" for key, value in params.items())
    return (
        f"- {{name: {name}, family: {family}, model: {model}, horizon: 1w, needs: [{needs}], params: {{{written}}}}}\n"
    )


def test_a_mixture_needs_exactly_its_parts(tmp_path: Path) -> None:
    """Found before a week of training, and not at the end of it."""
    nets = [of_regimes(regime, "regime_gru", regime=regime) for regime in REGIMES]
    parts = [of_regimes("cls", "regime_lightgbm"), *nets]

    assert accept(tmp_path, plan(*parts, of_regimes("mix", "regime_mixture", "cls, crisis, bull, bear, normal")))
    (missing,) = refuse(tmp_path, plan(*parts, of_regimes("mix", "regime_mixture", "crisis, bull, bear")))

    assert missing.startswith(
        "plan.yaml:8: jobs[5].needs: a regime_mixture mixes one regime_lightgbm and one net of each"
    )
    assert missing.endswith("`needs` has no regime_lightgbm, no net of normal")


def test_an_export_of_a_model_that_no_package_can_hold_is_found_before_it_is_trained(tmp_path: Path) -> None:
    def export(name: str) -> str:
        return f"- {{name: package, family: export, horizon: 1w, after: [{name}], params: {{job: {name}}}}}\n"

    turmoil = "- {name: turmoil, family: volatility, model: garch, horizon: 1w}\n"

    (refused,) = refuse(tmp_path, plan(turmoil, export("turmoil")))

    assert "jobs[1].params.job: " in refused
    assert refused.endswith(
        "'package' cannot export 'turmoil': garch is not exportable: it forecasts a variance and no price; "
        "`cbi-queue forecast` tells that of the newest rows"
    )
    assert accept(tmp_path, plan(net("net"), export("net")))


def test_a_mixture_counts_for_nothing_in_the_budget() -> None:
    assert counts_as_model("regime_specific", "regime_gru")
    assert not counts_as_model("regime_specific", "regime_mixture")


def test_a_name_of_digits_only_is_refused_because_numbers_mean_jobs_too(tmp_path: Path) -> None:
    """`cbi-queue cancel 1` once cancelled the job with the number 1, and not the one named 1."""
    assert refuse(tmp_path, plan(features("'1'"), features("'007'", "1m"), features("v1", "3m"))) == [
        (
            "plan.yaml:3: jobs[0].name: '1' is not allowed; a name of digits only could be taken for the number of another "
            "job; add a letter, as in 'job-1'"
        ),
        (
            "plan.yaml:4: jobs[1].name: '007' is not allowed; a name of digits only could be taken for the number of "
            "another job; add a letter, as in 'job-007'"
        ),
    ]


def test_a_name_taken_in_the_same_file_is_refused(tmp_path: Path) -> None:
    assert refuse(tmp_path, plan(features("a"), features("a"))) == [
        "plan.yaml:4: jobs[1].name: the name 'a' is already taken by plan.yaml:3; names are unique"
    ]


def test_a_name_taken_in_another_file_is_refused(tmp_path: Path) -> None:
    """Needs are resolved by name across all plans."""
    assert refuse(tmp_path, plan(features("a")), plan(features("a"))) == [
        "plan1.yaml:3: jobs[0].name: the name 'a' is already taken by plan.yaml:3; names are unique"
    ]


def test_two_caches_of_one_horizon_that_differ_are_refused(tmp_path: Path) -> None:
    """They would write one file, and whatever trained in between would have read another."""
    other = "- {name: b, family: features, horizon: 1w, params: {price_column: zl_close}}\n"

    assert refuse(tmp_path, plan(features("a"), other)) == [
        (
            "plan.yaml:4: jobs[1].params: 'a', plan.yaml:3, builds the cache of 1w with other params; "
            "all models of a horizon read the same cache"
        )
    ]


def test_two_caches_of_one_horizon_that_are_alike_or_of_two_horizons_are_fine(tmp_path: Path) -> None:
    """The quick start and the week are run on one machine: the second finds the cache and leaves it."""
    alike = "- {name: b, family: features, horizon: 1w, params: {price_column: price}}\n"
    far = "- {name: c, family: features, horizon: 1m, params: {price_column: zl_close}}\n"

    assert accept(tmp_path, plan(features("a"), alike), plan(far))


def test_a_need_that_nobody_answers_to_is_refused(tmp_path: Path) -> None:
    assert refuse(tmp_path, plan(features("features-1w"), naive("n", needs="other, feature-1w"))) == [
        (
            "plan.yaml:4: jobs[1].needs[0]: needs 'other', which is neither in the given plans nor in the queue; "
            "pass the file that defines it as well, or enqueue that file first"
        ),
        (
            "plan.yaml:4: jobs[1].needs[1]: needs 'feature-1w', which is neither in the given plans nor in the queue "
            "(did you mean 'features-1w'?)"
        ),
    ]


def test_a_day_waits_for_no_later_day(tmp_path: Path) -> None:
    """Together they would run; the earlier day alone could not be enqueued."""
    early, late = plan(naive("a", needs="b"), day=2), plan(naive("b"), day=3)
    assert refuse(tmp_path, early, late) == [
        "plan.yaml:3: jobs[0].needs[0]: 'a' of day 2 waits for 'b' of day 3; move one of them"
    ]
    assert accept(tmp_path, plan(naive("a", needs="b"), day=0), late), "day 0 is outside the week"
    assert accept(tmp_path, plan(naive("a"), day=2), plan(naive("b", needs="a"), day=3))


def test_a_need_may_be_met_by_another_file_or_by_the_queue(tmp_path: Path) -> None:
    known = {
        "old": JobSpec.model_validate(
            {"day": 0, "name": "old", "family": "features", "model": "feature_cache", "horizon": "1w"}
        )
    }
    texts = plan(naive("n", needs="f, old")), plan(features("f"))
    first, _ = accept(tmp_path, *texts, known_jobs=known)
    assert first.jobs[0].needs == ("f", "old")
    assert len(refuse(tmp_path, *texts)) == 1, "without the queue `old` is unknown"


def test_nobody_is_blamed_for_needing_a_job_that_could_not_be_read(tmp_path: Path) -> None:
    found = refuse(tmp_path, plan(naive("n", needs="f")), "day: 1\njobs: [\n")
    assert len(found) == 1
    assert found[0].startswith("plan1.yaml:3: column 1: broken YAML")


def test_a_circle_is_shown(tmp_path: Path) -> None:
    assert refuse(tmp_path, plan(naive("a", needs="b"), naive("b", needs="c"), naive("c", needs="a"))) == [
        "plan.yaml:3: jobs[0].needs: these jobs need each other in a circle and would never start: a → b → c → a"
    ]


def test_a_job_that_needs_itself_is_a_circle(tmp_path: Path) -> None:
    (found,) = refuse(tmp_path, plan(features("a", needs="a")))
    assert found.endswith("a → a")


def test_a_circle_across_files_is_found(tmp_path: Path) -> None:
    (found,) = refuse(tmp_path, plan(features("a", needs="b")), plan(features("b", needs="a")))
    assert found.endswith("a → b → a")


def test_a_chain_of_five_hundred_is_no_circle(tmp_path: Path) -> None:
    """Deeper than Python's recursion would like, were the walk recursive."""
    entries = [features(f"a{i}", needs=f"a{i + 1}") for i in range(499)]
    assert len(jobs(tmp_path, plan(*entries, features("a499")))) == 500


def test_a_batch_above_the_machine_s_ceiling_is_refused(tmp_path: Path) -> None:
    assert refuse(tmp_path, plan(net("n", batch_size=65))) == [
        "plan.yaml:3: jobs[0].params.batch_size: 65 is above the ceiling of m4-16gb for feed_forward; allowed: at most 64"
    ]
    assert jobs(tmp_path, plan(net("n", batch_size=64)))["n"].params["batch_size"] == 64


def test_the_ceiling_is_the_profile_s(tmp_path: Path) -> None:
    larger = replace(M4, name="big", batch_ceilings={"feed_forward": 512})
    smaller = replace(M4, name="tiny", batch_ceilings={"feed_forward": 32})
    assert jobs(tmp_path, plan(net("n", batch_size=512)), profile=larger)
    (found,) = refuse(tmp_path, plan(net("n")), profile=smaller)
    assert "batch_size: 64 is above the ceiling of tiny" in found, "defaults are held to it as well"


def test_one_hero_run_a_plan_may_be_twice_as_long(tmp_path: Path) -> None:
    assert jobs(tmp_path, plan(net("a", sequence_length=512), net("b", sequence_length=256)))
    assert refuse(tmp_path, plan(net("a", sequence_length=512), net("b", sequence_length=257))) == [
        (
            "plan.yaml:4: jobs[1].params.sequence_length: 257 is too long; allowed: at most 256 steps on m4-16gb; "
            "this plan already has a hero run, 'a', line 3"
        )
    ]
    assert refuse(tmp_path, plan(net("a", sequence_length=513))) == [
        (
            "plan.yaml:3: jobs[0].params.sequence_length: 513 is too long; allowed: at most 256 steps on m4-16gb, "
            "or 512 for one hero run per plan"
        )
    ]


def test_each_plan_has_a_hero_run_of_its_own(tmp_path: Path) -> None:
    assert accept(tmp_path, plan(net("a", sequence_length=512)), plan(net("b", sequence_length=512)))


def test_attention_is_never_a_hero(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its memory grows with the square of the length."""
    monkeypatch.setitem(SHIPPED, "feed_forward", replace(SHIPPED["feed_forward"], batch_kind="attention"))
    (found,) = refuse(tmp_path, plan(net("a", sequence_length=257, batch_size=16)))
    assert found.endswith(
        "params.sequence_length: 257 is too long for attention; allowed: at most 256 steps on m4-16gb"
    )


def test_a_features_job_without_its_export_is_refused(tmp_path: Path) -> None:
    (found,) = refuse(tmp_path, plan(features("a")), exports_dir=tmp_path)
    assert found == (
        "plan.yaml:3: jobs[0].horizon: the input production_training_data_1w.parquet is missing; "
        "export it, or build the sample with `cbi-queue data sample`"
    )
    (tmp_path / "production_training_data_1w.parquet").touch()
    assert jobs(tmp_path, plan(features("a")), exports_dir=tmp_path)


def test_a_model_without_features_in_its_needs_is_refused(tmp_path: Path) -> None:
    (found,) = refuse(tmp_path, plan(features("f"), naive("n")), processed_dir=tmp_path)
    assert found == (
        "plan.yaml:4: jobs[1]: no input for 1w: add the features job of 1w to `needs`, "
        "or build 1w_features.parquet first"
    )


def test_features_of_another_horizon_do_not_feed_a_model(tmp_path: Path) -> None:
    (found,) = refuse(tmp_path, plan(features("f", "1m"), naive("n", "1w", "f")), processed_dir=tmp_path)
    assert "no input for 1w" in found


def test_features_may_come_through_another_job_or_the_queue(tmp_path: Path) -> None:
    text = plan(features("f"), naive("a", needs="f"), naive("b", needs="a"))
    assert jobs(tmp_path, text, processed_dir=tmp_path)
    base = {"day": 0, "family": "statistical", "model": "naive", "horizon": "1w"}
    cache = {**base, "family": "features", "model": "feature_cache"}
    known = {
        "f": JobSpec.model_validate({**cache, "name": "f"}),
        "a": JobSpec.model_validate({**base, "name": "a", "needs": ["f"]}),
    }
    assert jobs(tmp_path, plan(naive("b", needs="a")), processed_dir=tmp_path, known_jobs=known)


def test_a_cache_on_disk_needs_no_features_job(tmp_path: Path) -> None:
    (tmp_path / "1w_features.parquet").touch()
    assert jobs(tmp_path, plan(naive("n")), processed_dir=tmp_path)


def trees(count: int, day: int) -> str:
    """A plan of *count* tree models."""
    seeds = ", ".join(map(str, range(count)))
    entry = f"- {{name: t{day}, family: trees, model: xgboost_dart, horizon: 1w, matrix: {{params.seed: [{seeds}]}}}}\n"
    return plan(entry, day=day)


def test_a_week_with_too_many_trees_is_refused_at_the_first_too_many(tmp_path: Path) -> None:
    assert accept(tmp_path, trees(10, 1), trees(10, 2))
    assert refuse(tmp_path, trees(10, 1), trees(11, 2)) == [
        "plan1.yaml:3: jobs[0]: the week's budget is 15 to 20 trees models; these plans hold 21; this is the first one too many"
    ]


def test_days_outside_the_week_have_no_budget(tmp_path: Path) -> None:
    assert accept(tmp_path, trees(100, 0), trees(100, 8))


def test_the_whole_week_must_reach_every_minimum(tmp_path: Path) -> None:
    """Six days are on their way; seven days claim to be the week."""
    days = [trees(2, day) for day in range(1, 8)]
    assert accept(tmp_path, *days[:6])
    found = refuse(tmp_path, *days)
    assert "days 1 to 7: the week's budget is 15 to 20 trees models; these plans hold 14" in found
    assert "days 1 to 7: the week's budget is 60 to 70 models in all; these plans hold 14" in found
    assert "days 1 to 7: the week's budget is 1 regime classifier models; these plans hold 0" in found


def test_too_few_rows_for_a_walk_forward_run_are_told_with_the_final_block(tmp_path: Path) -> None:
    """Without it the figures of the complaint do not add up to the rows that it asks for."""
    (tmp_path / "production_training_data_1w.parquet").touch()
    walked = naive("n", needs="f").replace("needs:", "params: {scheme: walk_forward}, needs:")

    complaints = refuse(
        tmp_path,
        plan(features("f"), naive("h", needs="f"), walked),
        exports_dir=tmp_path,
        inspect=lambda wanted: [Inspection(str(each.path), (), rows=1_000) for each in wanted],
    )

    assert [complaint.partition(";")[0] for complaint in complaints] == [
        (
            "plan.yaml:4: jobs[1].params: 1,000 rows are too few for 1w: validation 504, backtest 504, embargo 21, the "
            "horizon and 100 rows to train on need 1,165"
        ),
        (
            "plan.yaml:5: jobs[2].params: 1,000 rows are too few for 1w: validation 504, backtest 504, final block 252, "
            "embargo 21, the horizon and 100 rows to train on need 1,443"
        ),
    ]


def test_what_many_jobs_share_is_worked_out_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan may hold ten thousand jobs: parameters are checked once each, memory and caches looked at once a model."""
    seen: list[str] = []

    def counted(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **kwargs: (seen.append(name), original(*args, **kwargs))[1]

    (tmp_path / "1w_features.parquet").touch()
    monkeypatch.setattr("cbi_queue.spec.check_params", counted("second check", spec.check_params))
    monkeypatch.setattr(checks, "line_for", counted("line", checks.line_for))
    monkeypatch.setattr(Path, "is_file", counted("is_file", Path.is_file))
    text = plan(
        "- {name: 'a-{seed}', family: trees, model: xgboost_dart, horizon: 1w, matrix: {params.seed: [1, 2, 3]}}\n"
    )

    assert list(jobs(tmp_path, text, processed_dir=tmp_path)) == ["a-1", "a-2", "a-3"]
    assert (seen.count("second check"), seen.count("line"), seen.count("is_file")) == (0, 1, 1)


def test_a_plan_without_its_features_job_knows_the_rows_of_the_cache_on_the_disk(tmp_path: Path) -> None:
    """It used to be found out in training, after a claim."""
    (tmp_path / "1w_features.parquet").touch()
    (tmp_path / "1w_features.manifest.json").write_text(json.dumps({"source_sha256": "0", "rows": 700}))
    (found,) = refuse(tmp_path, plan(naive("n")), processed_dir=tmp_path)
    assert found.startswith("plan.yaml:3: jobs[0].params: 700 rows are too few for 1w")
    (tmp_path / "1w_features.manifest.json").write_text("[")
    assert jobs(tmp_path, plan(naive("n")), processed_dir=tmp_path)


def test_a_plan_whose_features_job_is_in_the_queue_knows_the_rows_of_the_export_it_will_read(tmp_path: Path) -> None:
    """Its faults were told when that job was enqueued: they are no complaint about this plan."""
    spec = {"day": 0, "name": "f", "family": "features", "model": "feature_cache", "horizon": "1w"}
    known = {"f": JobSpec.model_validate({**spec, "params": {"price_column": "settle"}})}
    asked: list[Request] = []

    def inspect(wanted: Sequence[Request]) -> list[Inspection]:
        asked.extend(wanted)
        return [Inspection(str(each.path), faults, rows=700) for each in wanted]

    around = {"exports_dir": tmp_path, "known_jobs": known, "inspect": inspect}
    faults: tuple[str, ...] = ()
    (tmp_path / "production_training_data_1w.parquet").touch()
    (found,) = refuse(tmp_path, plan(naive("n", needs="f")), **around)
    assert found.startswith("plan.yaml:3: jobs[0].params: 700 rows are too few for 1w")
    assert [each.params["price_column"] for each in asked] == ["settle"]
    faults = ("1 date twice",)
    assert jobs(tmp_path, plan(naive("n", needs="f")), **around)
