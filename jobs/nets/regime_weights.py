"""What each row weighs for a net of one regime: 1 where that regime is in force at the end of the horizon, less elsewhere.

The regime h rows later belongs to the label: it is known wherever the label is, and no row learns from a later block. A
regime with too few training rows is no regime to learn: all rows then weigh the same, and the net is that of all rows.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

import numpy as np

from cbi_queue.models.kinds import REGIMES
from cbi_queue.protocol import Note
from jobs.evaluation.regimes import later, regimes_of, short_words
from jobs.evaluation.splits import split_by

if TYPE_CHECKING:
    from cbi_queue.models.parameters.regimes import RegimeNetParams
    from jobs.nets.data import NeuralData
    from jobs.trainer import Task


def weighted(task: Task, data: NeuralData) -> NeuralData:
    """Return *data* with the weights of the job's regime.

    Whether the regime is too short is decided once, on the training block of the whole run: every fit of a walk-forward
    run does the same.

    Raises:
        BrokenSpec: when regimes cannot be told on these prices.
    """
    params, frame = cast("RegimeNetParams", task.spec.typed_params), data.frame
    regime, _ = regimes_of(frame, params)
    is_own = later(regime, frame.horizon_days) == REGIMES.index(params.regime)  # (rows,)
    block = split_by(frame, params).train
    found, total = int(is_own[block].sum()), len(block)
    details = {"regime": params.regime, "regime_rows": found, "of_rows": total, "falls_back": found < params.least_rows}
    if details["falls_back"]:
        if task.refit is None or task.refit.selects:
            task.channel.report(Note(short_words(params.regime, found, total, params.least_rows)))
        return replace(data, details=details)
    weight = np.where(is_own, 1.0, params.other_weight)
    weight /= weight[data.train].mean()
    return replace(data, weight=weight.astype(np.float32), details=details)
