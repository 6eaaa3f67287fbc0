"""`python -m jobs.exporting`: fill a folder with the package of one run, in a process of its own. JSON in, JSON out.

Standard input: {"run_dir", "processed_dir", "backend", "interpreter", "to"}; *to* is an empty folder, *interpreter* the
Python of the backend. Standard output: the facts of the package, or {"refused": words}, with "no_exporter" true where
another model may do. What libraries print goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path

from jobs.trainer import BrokenSpec

LIBRARIES = ("onnx", "onnxmltools", "onnxruntime", "onnxscript")
"""Of the extra `export`."""


def main() -> None:
    """Export one run."""
    asked = json.load(sys.stdin)
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        said = _export(asked, Path(asked["processed_dir"]))
    except BrokenSpec as exc:
        said = {"refused": str(exc)}
    with answer:
        json.dump(said, answer, allow_nan=False)


def _export(asked: dict[str, str], processed_dir: Path) -> dict[str, object]:
    if absent := [name for name in LIBRARIES if find_spec(name) is None]:  # torch has words of its own for it
        return _lacking(", ".join(absent))
    try:
        from jobs.exporting.finished_run import read_run
        from jobs.exporting.kinds import NoExporter, NotExportable
        from jobs.exporting.writing import write_package

        try:
            run = read_run(Path(asked["run_dir"]), processed_dir, asked["backend"], asked["interpreter"])
            return write_package(run, processed_dir, Path(asked["to"]))
        except NotExportable as exc:
            return {"refused": str(exc), "no_exporter": isinstance(exc, NoExporter)}
    except ImportError as exc:
        return _lacking(exc.name or str(exc))


def _lacking(missing: str) -> dict[str, object]:
    remedy = "pip install 'cbi-queue[train,export]'"
    return {"refused": f"{sys.executable} lacks {missing}, which an export needs: {remedy}"}


if __name__ == "__main__":
    main()
