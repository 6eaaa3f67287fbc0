"""The status page and the API: a process of its own that answers also when the worker is dead.

It looks at the ledger read-only; what it changes goes through the very functions that the command line calls
(`ledger.holds`, `ledger.verbs`) and asks for a token. `app` puts it together, `__main__` serves it. Below: `status`,
`leaderboard`, `ledger`. It never imports an ML library, pandas or sqlite-utils: at most 90 MB resident.
"""

from __future__ import annotations
