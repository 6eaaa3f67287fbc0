"""Finished runs in MLflow's own store: what is told of a run, the store, and the process that writes it.

The run folder, the ledger and the telemetry stay the truth; everything here is written from them and can be written again.
Only `store` imports mlflow, inside its functions: the daemon starts a process for it and never loads it.
"""

from __future__ import annotations
