"""The JSON Schema of a plan file, for editors: made from the same models that check it.

Pydantic gives the frame; added are, for each model, its parameters (chosen by `family` and `model`), the keys of a matrix,
and the docstrings below the fields as descriptions. Written to `cbi_queue/day-plan.schema.json`; a test holds it current.
"""

from __future__ import annotations

import ast
import inspect
import sys
from functools import cache
from typing import TYPE_CHECKING, Any

from cbi_queue.identity import NAME_PATTERN
from cbi_queue.models import kinds
from cbi_queue.models.catalogue import MODELS, SHIPPED, models_of
from cbi_queue.models.kinds import Family
from cbi_queue.models.parameters.common import EvaluationParams
from cbi_queue.plan.document import MAX_WINDOWS, Defaults, JobEntry, PlanFile
from cbi_queue.values.written import DURATION

if TYPE_CHECKING:
    from types import ModuleType

    from pydantic import BaseModel

    from cbi_queue.models.entry import ModelEntry

SCHEMA_ID = "https://json-schema.org/draft/2020-12/schema"


def plan_schema() -> dict[str, Any]:
    """Return the JSON Schema of a plan file, as plain JSON values."""
    schema = _described(PlanFile)
    definitions = schema["$defs"]
    for keys in (JobEntry, Defaults):
        definitions[keys.__name__] = {key: value for key, value in _described(keys).items() if key != "$defs"}
    for model, entry in MODELS.items():
        parameters = _described(entry.params)
        definitions |= parameters.pop("$defs", {})
        definitions[_definition(model, entry)] = {**parameters, "title": f"Parameters of {model}"}
    shared = _described(EvaluationParams)
    shared["properties"]["windows"] = {
        "type": "integer", "minimum": 1, "maximum": MAX_WINDOWS,
        "description": "Blocks of refit_every_rows that judge, instead of backtest_rows, their product.",
    }  # fmt: skip
    schema["properties"]["evaluation"] |= {key: shared[key] for key in ("properties", "additionalProperties")}
    job = definitions["JobEntry"]
    job["properties"]["model"]["anyOf"][0]["enum"] = list(MODELS)
    job["properties"]["matrix"] = _matrix(job["properties"]["matrix"])
    job["allOf"] = [*(_family_rule(family) for family in Family), *(_model_rule(*item) for item in MODELS.items())]
    job["anyOf"] = [
        {"required": ["horizon"]},
        {"properties": {"matrix": {"required": ["horizon"]}}, "required": ["matrix"]},
        {"properties": {"family": {"const": Family.SCRIPT.value}}, "required": ["family", "command"]},
    ]
    for keys in (job, definitions["Defaults"]):
        keys["properties"]["timeout"]["anyOf"][1]["pattern"] = f"^{DURATION.pattern}$"
    return {"$schema": SCHEMA_ID, **schema}


def _matrix(base: dict[str, Any]) -> dict[str, Any]:
    choices = {"type": "array", "minItems": 1, "uniqueItems": True}
    return {
        **{key: value for key, value in base.items() if key != "additionalProperties"},
        "properties": {
            "horizon": {**choices, "items": {"enum": list(kinds.HORIZONS)}},
            "model": {**choices, "items": {"enum": list(MODELS)}},
            "dataset": {**choices, "items": {"type": "string", "pattern": NAME_PATTERN}},
        },
        "patternProperties": {r"^params\..+$": choices},
        "additionalProperties": False,
    }


def _family_rule(family: Family) -> dict[str, Any]:
    """Allow only the models of *family*; a family with exactly one model needs none named."""
    names = list(models_of(family))
    rule: dict[str, Any] = {"properties": {"model": {"enum": [*names, None]}}}
    if len(names) != 1:
        rule["anyOf"] = [
            {"required": ["model"], "properties": {"model": {"type": "string"}}},
            {"required": ["matrix"], "properties": {"matrix": {"required": ["model"]}}},
        ]
    return {"if": {"required": ["family"], "properties": {"family": {"const": family.value}}}, "then": rule}


def _model_rule(name: str, entry: ModelEntry) -> dict[str, Any]:
    """Check `params` and the matrix by the class of the model that is named, or the only one of its family."""
    condition: dict[str, Any] = {"required": ["model"], "properties": {"model": {"const": name}}}
    if models_of(entry.family) == (name,):
        condition = {"required": ["family"], "properties": {"family": {"const": entry.family.value}}}
    reference = f"#/$defs/{_definition(name, entry)}"
    axes = {
        f"params.{field}": {"items": {"$ref": f"{reference}/properties/{field}"}} for field in entry.params.model_fields
    }
    backend = {"enum": [*entry.backends, None]}
    if entry.family == Family.SCRIPT:  # its parameters are its own
        return {"if": condition, "then": {"properties": {"backend": backend}}}
    then = {"params": {"$ref": reference}, "matrix": {"properties": axes}, "backend": backend}
    return {"if": condition, "then": {"properties": then}}


def _definition(model: str, entry: ModelEntry) -> str:
    """Name the parameters of *model* below `$defs`; classes of packages may share a name with ours or each other."""
    return entry.params.__name__ if model in SHIPPED else f"{model}_{entry.params.__name__}"


def _described(model: type[BaseModel]) -> dict[str, Any]:
    """Return the schema of *model* with the docstrings of its fields as descriptions."""
    schema = model.model_json_schema()
    for name, text in _field_docstrings(model).items():
        schema["properties"][name]["description"] = text
    return schema


def _field_docstrings(model: type[BaseModel]) -> dict[str, str]:
    """Collect the sentences below the fields, those of the nearest class first."""
    found: dict[str, str] = {}
    for cls in reversed(model.__mro__):
        if "model_fields" in dir(cls) and not cls.__module__.startswith("pydantic."):
            found |= _docstrings_of(sys.modules[cls.__module__]).get(cls.__name__, {})
    return {name: text for name, text in found.items() if name in model.model_fields}


@cache
def _docstrings_of(module: ModuleType) -> dict[str, dict[str, str]]:
    """Read the strings below annotated fields from the source: at run time Python forgets them."""
    classes = [node for node in ast.parse(inspect.getsource(module)).body if isinstance(node, ast.ClassDef)]
    return {
        node.name: {
            field.target.id: inspect.cleandoc(below.value.value).replace("\n", " ")
            for field, below in zip(node.body, node.body[1:], strict=False)
            if isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
            and isinstance(below.value.value, str)
        }
        for node in classes
    }
