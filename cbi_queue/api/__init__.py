"""The status page and the API: a separate process that answers also when no daemon runs.

It reads the ledger read-only. Changes need a token and go through the functions that the command line calls
(`ledger.holds`, `ledger.verbs`). It never imports an ML library, pandas or sqlite-utils: at most 90 MB resident.
"""

from __future__ import annotations
