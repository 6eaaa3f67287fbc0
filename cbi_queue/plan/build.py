"""Combinations -> `JobDraft`s: the model found, parameters checked, a `JobSpec` when nothing is wrong with it. Pure.

A job with complaints keeps what could be read, above all its name, so that jobs that need it draw no complaint. Checks
between jobs are in `checks`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from cbi_queue.datasets.place import DEFAULT
from cbi_queue.identity import NAME_PATTERN
from cbi_queue.models.catalogue import MODELS, entry_for, models_of, outside
from cbi_queue.models.kinds import HORIZONS, NO_HORIZON, Family
from cbi_queue.plan.expand import MAX_JOBS, Combination, filled
from cbi_queue.spec import CHECKED, JobSpec, spec_faults, timeout_seconds
from cbi_queue.values.words import KeyPath, fault_words, not_allowed, unknown

if TYPE_CHECKING:
    from cbi_queue.models.parameters.common import ModelParams
    from cbi_queue.plan.expand import Complain, Entry

NAME_WORDS = "lower-case letters, digits, dot, dash, underscore; at most 80, the first a letter or digit"
_NAME = re.compile(NAME_PATTERN)
DIGITS_WORDS = "a name of digits only could be taken for the number of another job; add a letter, as in {!r}"


@dataclass(slots=True)
class JobDraft:
    """One job on its way to a spec."""

    at: KeyPath
    """Its element of `jobs`."""
    origins: dict[KeyPath, KeyPath]
    family: str | None = None
    model: str | None = None
    horizon: str | None = None
    dataset: str = DEFAULT
    name: str | None = None
    params: dict[str, Any] = field(default_factory=dict)
    """The parameters that are right; with every default filled in when all are."""
    needs: dict[str, int] = field(default_factory=dict)
    """Each name with its position in `needs` as written."""
    after: dict[str, int] = field(default_factory=dict)
    """The same of `after`."""
    needs_known: bool = False
    """False when `needs` or `after` drew a complaint: what they lack then proves nothing."""
    spec: JobSpec | None = None

    @property
    def waits_for(self) -> tuple[str, ...]:
        """Names of the jobs that it needs or comes after."""
        return (*self.needs, *self.after)

    def place(self, *key: str | int) -> KeyPath:
        """Return where *key* of this job is written: in the matrix, in the defaults, or in the job itself."""
        for length in range(len(key), 0, -1):
            if (origin := self.origins.get(key[:length])) is not None:
                return (*origin, *key[length:])
        return (*self.at, *key)


def build(entry: Entry, combination: Combination, day: int, complain: Complain) -> JobDraft:
    """Make the draft of one combination; what is wrong with it goes to *complain*."""
    draft = JobDraft(entry.at, combination.origins, family=combination.values.get("family"))
    values, broken = combination.values, set(entry.broken)
    _find_model(draft, values, broken, complain)
    _find_horizon(draft, values, broken, complain)
    draft.dataset = values.get("dataset") or DEFAULT
    _check_params(draft, values, broken, complain)
    _name(draft, values, combination, broken, complain)
    _name_needs(draft, values, broken, complain)
    rest = {
        "backend": _backend(draft, values, broken, complain),
        "timeout_s": _timeout(draft, values, broken, complain),
        "priority": values.get("priority", 0),
        "retries": values.get("retries", 1),
    }
    if not broken:
        draft.spec = _spec(draft, {**rest, "day": day}, complain)
    return draft


def _spec(draft: JobDraft, values: dict[str, Any], complain: Complain) -> JobSpec | None:
    named = {key: getattr(draft, key) for key in ("name", "family", "model", "horizon", "dataset", "params")}
    try:
        written = {**named, **values, "needs": tuple(draft.needs), "after": tuple(draft.after)}
        return JobSpec.model_validate(written, context=CHECKED)
    except ValidationError as exc:
        # Every key was checked above; what is left are rules between keys that the spec itself holds.
        complain(draft.at, spec_faults(exc, named))
        return None


def _find_model(draft: JobDraft, values: dict[str, Any], broken: set[str], complain: Complain) -> None:
    """Choose the model: as written, or the only one of its family."""
    if "family" in broken or "model" in broken or draft.family is None:
        broken.add("model")
        return
    written = values.get("model")
    if isinstance(written, str) and entry_for(draft.family, written) is not None:
        draft.model = written
        return
    known = models_of(draft.family)
    if written is None and len(known) == 1:
        draft.model = known[0]
    else:
        broken.add("model")
        if written is None:
            complain(draft.at, f"'model' is missing; family {draft.family} has several: {', '.join(known)}")
            return
        entry = MODELS.get(written)
        hint = f"{written!r} is of family {entry.family}, not {draft.family}" if entry else None
        complain(draft.place("model"), hint or unknown("model", written, known) + outside().fault_words)


def _find_horizon(draft: JobDraft, values: dict[str, Any], broken: set[str], complain: Complain) -> None:
    if "horizon" in broken:
        return
    draft.horizon = values.get("horizon")
    if draft.family == Family.SCRIPT:
        if draft.horizon is not None:
            complain(draft.place("horizon"), "a script forecasts nothing ahead; leave the horizon out")
        draft.horizon = NO_HORIZON
        values["horizon"] = NO_HORIZON
        return
    if draft.horizon is None:
        broken.add("horizon")
        complain(draft.at, f"'horizon' is missing, here or in the matrix; allowed: one of {', '.join(HORIZONS)}")


def _check_params(draft: JobDraft, values: dict[str, Any], broken: set[str], complain: Complain) -> None:
    """Check the parameters by the model's own class, strictly: no text for numbers, no true for 1."""
    if draft.model is None or "params" in broken:
        return
    entry = MODELS[draft.model]
    try:
        draft.params = _checked_params(entry.params, json.dumps(values["params"]))
    except ValidationError as exc:
        broken.add("params")
        spoilt = {error["loc"][0] for error in exc.errors() if error["loc"]}
        draft.params = {key: value for key, value in values["params"].items() if key not in spoilt}
        for error in exc.errors():
            key, text = fault_words(error, params_schema(entry.params), "parameter")
            complain(draft.place("params", *key), text)


@lru_cache(maxsize=MAX_JOBS)
def _checked_params(params: type[ModelParams], written: str) -> dict[str, Any]:
    """Check *written* parameters, JSON, once for the many jobs of a matrix that have them; every default filled in."""
    return params.model_validate_json(written, strict=True).model_dump(mode="json")


@lru_cache(maxsize=64)
def params_schema(params: type[ModelParams]) -> dict[str, Any]:
    """Return the JSON Schema of a parameter class."""
    return params.model_json_schema()


def _facts(draft: JobDraft, values: dict[str, Any]) -> dict[str, Any]:
    known = {"horizon": draft.horizon, "model": draft.model, "dataset": draft.dataset}
    params = values.get("params", {})
    own = params.get("values", {}) if draft.family == Family.SCRIPT else params
    return {**{key: value for key, value in known.items() if value is not None}, **own}


def _filled(
    draft: JobDraft, template: str, values: dict[str, Any], key: KeyPath, complain: Complain, ending: str = ""
) -> str | None:
    try:
        name = filled(template, _facts(draft, values)) + ending
    except ValueError as exc:
        if draft.model is not None and draft.horizon is not None:
            complain((*draft.at, *key), str(exc))
        return None
    if _NAME.fullmatch(name) is None:
        complain((*draft.at, *key), not_allowed(name, NAME_WORDS))
        return None
    return name


def _name(
    draft: JobDraft, values: dict[str, Any], combination: Combination, broken: set[str], complain: Complain
) -> None:
    if "name" in broken:
        return
    ending = "".join(f"-{value}" for value in combination.appended)
    draft.name = _filled(draft, values["name"], values, ("name",), complain, ending)
    if draft.name is not None and draft.name.isdigit():
        complain((*draft.at, "name"), f"{draft.name!r} is not allowed; {DIGITS_WORDS.format(f'job-{draft.name}')}")
        draft.name = None
    if draft.name is None:
        broken.add("name")


def _name_needs(draft: JobDraft, values: dict[str, Any], broken: set[str], complain: Complain) -> None:
    if not broken.isdisjoint({"needs", "after"}):
        return
    draft.needs_known = True
    for key, found in (("needs", draft.needs), ("after", draft.after)):
        names = [_filled(draft, need, values, (key, i), complain) for i, need in enumerate(values.get(key, []))]
        for i, name in enumerate(names):
            if name is not None:
                found.setdefault(name, i)
        if None in names:
            draft.needs_known = False
            broken.add(key)


def _backend(draft: JobDraft, values: dict[str, Any], broken: set[str], complain: Complain) -> str | None:
    if draft.model is None or "backend" in broken:
        return None
    entry = MODELS[draft.model]
    written: str = values.get("backend") or entry.default_backend
    if written not in entry.backends:
        broken.add("backend")
        complain(draft.place("backend"), unknown(f"backend for {draft.model}:", written, entry.backends))
    return written


def _timeout(draft: JobDraft, values: dict[str, Any], broken: set[str], complain: Complain) -> float | None:
    try:
        return timeout_seconds(values.get("timeout"))
    except ValueError as exc:
        broken.add("timeout")
        complain(draft.place("timeout"), not_allowed(values["timeout"], str(exc)))
        return None
