"""From the files that people have to an export: `form` how a text file is written, `values` what its words mean, `source`
what DuckDB reads, `proposal` what would be imported, `write` the export.
"""

from __future__ import annotations
