"""One source -> `PlanDraft`: the keys checked by the document's models, defaults filled in, every job drafted.

Never stops at the first complaint: a key that is wrong is set aside, and the rest is still checked.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from cbi_queue.models.catalogue import MODELS, models_of
from cbi_queue.models.kinds import Family
from cbi_queue.models.parameters.common import EvaluationParams
from cbi_queue.plan.build import JobDraft, build
from cbi_queue.plan.document import MAX_WINDOWS, JobEntry, PlanFile
from cbi_queue.plan.expand import MAX_JOBS, Combination, Entry, axes_of, combinations, count_of
from cbi_queue.plan.scripts import as_script, script_words
from cbi_queue.plan.yaml_source import Source, read_source
from cbi_queue.spec import TIMEOUT_WORDS, DayPlan
from cbi_queue.values.words import OTHER_WORDS, KeyPath, did_you_mean, fault_words, not_allowed, words_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from cbi_queue.models.entry import ModelEntry
    from cbi_queue.plan.complaints import Complaints


_SIMPLE_DEFAULTS = ("retries", "timeout", "priority")
"""Defaults that every job can take, whatever its model."""


@dataclass(slots=True)
class PlanDraft:
    """One file on its way to a DayPlan."""

    source: Source
    day: int | None
    title: str
    jobs: list[JobDraft] = field(default_factory=list)
    complete: bool = True
    """False when jobs are missing because they could not be read: needing one of them draws no complaint."""

    def plan(self) -> DayPlan:
        """Return the plan. Call it only without complaints."""
        specs = tuple(draft.spec for draft in self.jobs if draft.spec is not None)
        return DayPlan(day=self.day or 0, title=self.title, source=self.source.name, jobs=specs)

    def complain(self, complaints: Complaints, key: KeyPath, text: str) -> None:
        """Add a complaint about *key* of this file, on its line."""
        complaints.add(self.source.name, self.source.line_of(key), key, text)


def drafts_in(plans: Sequence[PlanDraft]) -> Iterator[tuple[PlanDraft, JobDraft]]:
    """Yield every job of *plans* with its plan, in plan order."""
    for plan in plans:
        for job in plan.jobs:
            yield plan, job


def draft_of(path: Path, complaints: Complaints, copy_of: str | None = None) -> PlanDraft | None:
    """Read *path*, perhaps a copy of what has another name, into a draft; None when it cannot be read as a whole."""
    source = read_source(path, complaints, copy_of)
    if source is None:
        return None
    return _Reading(source, complaints).draft()


class _Reading:
    """Drafts one file."""

    def __init__(self, source: Source, complaints: Complaints) -> None:
        self._source = source
        self._complaints = complaints
        self._broken: set[KeyPath] = set()
        """Every key that is wrong, and every key that contains one."""
        self._unusable: set[KeyPath] = set()
        """The wrong keys themselves."""

    def draft(self) -> PlanDraft:
        """Check every key, then draft every job."""
        self._check_keys()
        data = self._source.data if isinstance(self._source.data, dict) else {}
        good = {key: value for key, value in data.items() if (key,) not in self._unusable}
        plan = PlanDraft(self._source, good.get("day"), good.get("title", ""))
        defaults = self._without_broken(good.get("defaults", {}), ("defaults",))
        self._evaluation = self._read_evaluation(self._without_broken(good.get("evaluation", {}), ("evaluation",)))
        for index, raw in enumerate(good.get("jobs", [])):
            self._draft_entry(plan, self._entry(index, raw, defaults), defaults)
        plan.complete = plan.complete and bool(plan.jobs)
        self._check_defaults_used(plan, defaults)
        return plan

    def complain(self, key: KeyPath, text: str) -> None:
        """Note a complaint about *key* of this file."""
        self._complaints.add(self._source.name, self._source.line_of(key), key, text)

    def _check_keys(self) -> None:
        try:
            PlanFile.model_validate_json(json.dumps(self._source.data), strict=True)
        except ValidationError as exc:
            for error in exc.errors(include_url=False):
                key, text = fault_words(error, _document_schema())
                if key and key[-1] == "timeout":
                    text = not_allowed(error["input"], TIMEOUT_WORDS)
                text = script_words(key, error) or text + _place_words(key, error["input"])
                spoilt = key if error["type"] != "missing" else (*key, error["loc"][-1])
                self._unusable.add(spoilt)
                self._broken.update(spoilt[:length] for length in range(1, len(spoilt) + 1))
                self.complain(key, text)

    def _without_broken(self, values: Any, at: KeyPath) -> dict[str, Any]:
        if not isinstance(values, dict) or at in self._unusable:
            return {}
        return {key: value for key, value in values.items() if (*at, key) not in self._broken}

    def _entry(self, index: int, raw: Any, defaults: dict[str, Any]) -> Entry:
        at: KeyPath = ("jobs", index)
        good = self._without_broken(raw, at)
        keys = {*(raw if isinstance(raw, dict) else ()), *JobEntry.model_fields}
        broken = frozenset(key for key in keys if (*at, key) in self._broken)
        simple = {key: defaults[key] for key in _SIMPLE_DEFAULTS if key in defaults}
        return Entry(index, {**simple, **good}, broken)

    def _draft_entry(self, plan: PlanDraft, entry: Entry, defaults: dict[str, Any]) -> None:
        if entry.at in self._unusable:
            plan.complete = False
            return
        axes = axes_of(entry, self.complain)
        written = sum(len(choices) for choices in entry.values.get("matrix", {}).values())
        plan.complete = plan.complete and written == sum(len(axis.choices) for axis in axes)
        count, others = count_of(axes), len(plan.jobs)
        if count + others > MAX_JOBS:
            and_before = f" in addition to {others} before it" if others else ""
            self.complain(
                (*entry.at, "matrix"),
                f"expands to {count} jobs{and_before}; a plan may hold {MAX_JOBS}; shorten a list or split the plan",
            )
        if not 0 < count <= MAX_JOBS - others or "matrix" in entry.broken:
            plan.complete = False
            return
        for combination in combinations(entry, axes):
            filled_in = as_script(self._with_defaults(combination, entry, defaults), entry, self._source, self.complain)
            plan.jobs.append(build(entry, filled_in, plan.day or 0, self.complain))

    def _with_defaults(self, combination: Combination, entry: Entry, defaults: dict[str, Any]) -> Combination:
        """Fill in the default backend and parameters where the model knows them, remembering where they stand."""
        values, origins = dict(combination.values), dict(combination.origins)
        raw = self._source.data["jobs"][entry.index]
        if values.get("dataset") is None and ("dataset",) not in self._unusable:
            values["dataset"] = self._source.data.get("dataset")
            origins["dataset",] = ("dataset",)
        for key in _SIMPLE_DEFAULTS:
            if key in defaults and key not in raw:
                origins[key,] = ("defaults", key)
        model = MODELS.get(str(values.get("model") or _only_model_of(values.get("family", ""))))
        if model is None:
            return Combination(values, origins, combination.appended)
        if values.get("backend") is None and defaults.get("backend") in model.backends:
            values["backend"] = defaults["backend"]
        for place, params in self._param_defaults(defaults):
            for name, value in params.items():
                if name in _taken(model, place) and name not in values["params"]:
                    values["params"] = {**values["params"], name: value}
                    written = (
                        "windows" if place == ("evaluation",) and name not in self._source.data["evaluation"] else name
                    )
                    origins["params", name] = (*place, written)
        return Combination(values, origins, combination.appended)

    def _read_evaluation(self, written: dict[str, Any]) -> dict[str, Any]:
        """Return *written* with `windows` as the rows that they make together."""
        if "windows" not in written:
            return written
        windows, rest = written["windows"], {key: value for key, value in written.items() if key != "windows"}
        if "backtest_rows" in rest:
            self.complain(
                ("evaluation", "windows"), "windows and backtest_rows both say how long the backtest is; keep one"
            )
            return rest
        each = rest.get("refit_every_rows", EvaluationParams.model_fields["refit_every_rows"].default)
        if not isinstance(windows, int) or isinstance(windows, bool) or not 1 <= windows <= MAX_WINDOWS:
            self.complain(("evaluation", "windows"), not_allowed(windows, f"a whole number from 1 to {MAX_WINDOWS}"))
            return rest
        if not isinstance(each, int) or isinstance(each, bool) or each < 1:
            return rest  # complained of as `refit_every_rows`
        rows, allowed = windows * each, EvaluationParams.model_json_schema()["properties"]["backtest_rows"]
        if not allowed["minimum"] <= rows <= allowed["maximum"]:
            text = f"{windows} windows of {each} trading days make a backtest of {rows:,}"
            self.complain(("evaluation", "windows"), f"{text}; allowed: {words_for(allowed)}")
            return rest
        return {**rest, "backtest_rows": rows}

    def _param_defaults(self, defaults: dict[str, Any]) -> tuple[tuple[KeyPath, dict[str, Any]], ...]:
        """Return where parameters for several jobs stand, and which, the nearest to a job first."""
        return (("defaults", "params"), defaults.get("params", {})), (("evaluation",), self._evaluation)

    def _check_defaults_used(self, plan: PlanDraft, defaults: dict[str, Any]) -> None:
        """Complain about a default that no job can take; only when every job could be read."""
        if not plan.complete or any(job.model is None for job in plan.jobs):
            return
        models = [MODELS[name] for name in dict.fromkeys(job.model for job in plan.jobs) if name is not None]
        backend = defaults.get("backend")
        if backend is not None and not any(backend in model.backends for model in models):
            known = {name for model in models for name in model.backends}
            text = f"no job of this plan runs on the backend {backend!r}{did_you_mean(backend, known)}"
            self.complain(("defaults", "backend"), f"{text}; allowed: {', '.join(sorted(known))}")
        for place, params in self._param_defaults(defaults):
            known = {name for model in models for name in _taken(model, place)}
            known |= {"windows"} if place == ("evaluation",) else set()
            for name in params:
                if name not in known:
                    meant = did_you_mean(name, sorted(known))
                    self.complain((*place, name), f"no job of this plan has a parameter {name!r}{meant}")


def _place_words(key: KeyPath, value: object) -> str:
    """Return where a key or a list of an entry belongs that is right in another place of it."""
    if len(key) != 3 or key[0] != "jobs":
        return ""
    name = str(key[-1])
    if isinstance(value, list) and name in {"horizon", "model", "dataset"}:
        return f"; several go into the matrix, as in `matrix: {{{name}: [A, B]}}`"
    if OTHER_WORDS.get(name, name) in {field for entry in MODELS.values() for field in entry.params.model_fields}:
        return "; parameters of the model go below `params`"
    return ""


def _taken(model: ModelEntry, place: KeyPath) -> Iterable[str]:
    """Return the parameters that *model* takes from *place*: from `evaluation` only those of how it is judged."""
    if model.family == Family.SCRIPT:
        return ()  # its parameters are its own
    if place != ("evaluation",):
        return model.params.model_fields
    return EvaluationParams.model_fields if issubclass(model.params, EvaluationParams) else ()


def _only_model_of(family: str) -> str:
    known = models_of(family)
    return known[0] if len(known) == 1 else ""


@cache
def _document_schema() -> dict[str, Any]:
    return PlanFile.model_json_schema()
