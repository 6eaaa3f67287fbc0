"""Rows and features of a job's data, without an ML library: from the feature cache's manifest, else from its export.

Reading an export's own schema needs the trainers' libraries, so it is done in their interpreter, and only where a
second may be spent (`estimate`, never the daemon).
"""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

from cbi_queue.datasets.place import export_path, manifest_path
from cbi_queue.models.memory_formulas import Shape
from cbi_queue.regular_files import LARGE, read_whole

if TYPE_CHECKING:
    from pathlib import Path

ASSUMED = Shape(6000, 400, "assumed: neither a feature cache nor an export is there")
"""About 24 years of trading days, and twice the features of the sample: more than most, so that nothing is promised
that the real data would break."""
NOT_FEATURES = ("date", "price")
ASK_TIMEOUT_S = 20.0
_ASK = """
import sys
from pathlib import Path
from cbi_queue.datasets.description import read_description
from cbi_queue.models.parameters.features import FeatureParams
from jobs.data.export_file import open_export
from jobs.data.feature_names import feature_names
path = Path(sys.argv[1])
export = open_export(path, FeatureParams(), lambda: None, read_description(path.parent))
print(export.rows, len(feature_names(export.series, FeatureParams(), export.as_is)))
"""


def shape_from_cache(processed_dir: Path, horizon: str) -> Shape | None:
    """Read the manifest of *horizon*'s feature cache; None when there is none that can be read."""
    try:
        body = json.loads(read_whole(manifest_path(processed_dir, horizon), LARGE))
        rows, names = int(body["rows"]), [name for name, _ in body["schema"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    features = sum(name not in NOT_FEATURES for name in names)
    return Shape(rows, features, "the feature cache") if rows > 0 and features > 0 else None


def shape_from_export(exports_dir: Path, horizon: str, interpreter: str) -> Shape | None:
    """Have *interpreter* read the schema of *horizon*'s export; None without an export, or without a library for it there."""
    export = export_path(exports_dir, horizon)
    if not export.is_file():
        return None
    command = [interpreter, "-P", "-c", _ASK, str(export)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ASK_TIMEOUT_S, check=False)
        rows, features = map(int, done.stdout.split())
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return Shape(rows, features, "the export")
