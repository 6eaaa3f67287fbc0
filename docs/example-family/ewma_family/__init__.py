"""The row of `ewma_drift`. The daemon and the command line import this module: keep ML libraries out of it."""

from __future__ import annotations

from cbi_queue.models.entry import ModelEntry
from cbi_queue.models.kinds import Family

MODELS = {
    "ewma_drift": ModelEntry(
        Family.STATISTICAL,
        "ewma_family.params:EwmaDriftParams",
        {"native": "ewma_family.trainer:EwmaDrift"},
        resumes_from="start",
        words="the mean return of recent days continues",
    )
}
