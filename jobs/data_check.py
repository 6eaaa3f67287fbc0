"""`python -m jobs.data_check`: requests as a JSON list on standard input, what was found in each export as JSON lines.

Runs on the trainers' Python, started by `plan check`, `doctor` and `data check`, because the command line imports no
data library. A person waits for it, so it imports neither Polars nor pydantic: parameters and choices come validated.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cbi_queue.errors import CbiError


def inspect(request: dict[str, Any]) -> dict[str, Any]:
    """Check one export.

    Args:
        request: `path`, `params` (a whole `FeatureParams`) and `choices` (a whole `DataSet`), as JSON.
    """
    from jobs.data.export_check import check_export
    from jobs.data.feature_cap import features_of, memory_mib

    path, params, choices = Path(request["path"]), _fields(request["params"]), _fields(request["choices"])
    choices.columns = {name: _fields(column) for name, column in choices.columns.items()}
    try:
        report = check_export(path, params, choices, lambda: None)
    except CbiError as exc:
        return {"path": str(path), "faults": [exc.message]}
    except OSError as exc:
        return {"path": str(path), "faults": [f"cannot be read: {exc.strerror or exc}"]}
    found: dict[str, Any] = {
        "path": str(path),
        "rows": report.rows,
        "first_day": report.first_day,
        "last_day": report.last_day,
        "faults": report.faults,
        "notes": report.notes,
        "warnings": report.warnings,
        "coverage": {name: round(share, 4) for name, share in report.coverage.items()},
    }
    if (export := report.export) is not None:
        features = features_of(export, params)
        found |= {
            "columns": [
                {
                    "name": name,
                    "in_the_file": original,
                    "role": "as_is" if name in export.as_is else "series",
                    "coverage": round(report.coverage.get(name, 0.0), 4),
                }
                for name, original in export.columns.covariates.items()
                if name in export.as_is or name in {s.name for s in export.series}
            ],
            "spacing": export.spacing.as_json(),
            "features": features,
            "memory_mib": round(memory_mib(export.rows, features), 1),
        }
    return found


def _fields(body: dict[str, Any]) -> Any:
    """Return values as the attributes that the model had."""
    return SimpleNamespace(**body)


def main() -> int:
    """Answer every request; return the exit code."""
    for request in json.load(sys.stdin):
        print(json.dumps(inspect(request)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
