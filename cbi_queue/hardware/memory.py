"""How much memory a job needs: the formula of its model, corrected by what earlier runs took. Pure.

Measured on real trainings, memory is a line over the formula: base + factor * formula. The base (interpreter, library,
what a library maps at its first step) is the larger part of most jobs here, so that a bare ratio of measured to printed
would be noise: 23 for a net of 6 MB, 8 for the same net of 75. Both numbers of the line are learned robustly; until
there are enough runs, the line measured on this project's own trainers stands in, with more doubt.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from statistics import median
from typing import TYPE_CHECKING, Any

from cbi_queue.models.catalogue import MODELS
from cbi_queue.models.memory_formulas import DECLARED, TABLE, CorrectionLine, MemoryFormula, Shape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LAST_PEAKS = 24
"""Measured peaks that count: the newest. More would include versions of a library that are gone."""
LEAST_PEAKS = 3
"""Runs before their median is used."""
LEAST_SPREAD_MIB = 32.0
"""Difference between two formulas from which a slope may be read: below it, the noise of a resident set decides."""
FACTORS = (0.25, 25.0)
"""A slope outside comes from runs that something else disturbed."""
SCRIPTS = "script"
"""Stands for the backend where peaks of scripts are kept: they say nothing about our own models."""
NEVER_RUN_DOUBT = 1.0
"""Doubt about a line that was measured with another library or on another kind of device."""


TENSORFLOW_EXTRA_MIB = 430.0
"""What importing TensorFlow and Keras takes beyond importing torch."""


@dataclass(frozen=True, slots=True)
class Peak:
    """The memory that one run took."""

    model: str
    formula_mib: float
    measured_mib: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """How much memory a job needs with one micro-batch."""

    formula_mib: float
    """The memory by the formula."""
    line: CorrectionLine
    micro_batch: int | None
    """None for models without batches."""

    @property
    def corrected_mib(self) -> float:
        """The memory it will probably take."""
        return self.line.base_mib + self.line.factor * self.formula_mib

    @property
    def safe_mib(self) -> float:
        """The memory it should stay below."""
        return self.corrected_mib + self.line.spread_mib + self.line.doubt * self.line.factor * self.formula_mib


def kind_of(model: str) -> str | None:
    """Return the row of a profile's ceilings and precision that holds for *model*; None for models that are not nets."""
    entry = MODELS.get(model)
    return entry.batch_kind if entry is not None else None


def planned_micro_batch(params: Mapping[str, Any]) -> int | None:
    """Return the most samples that a plan lets through a net at once: its grain or batch; None for other models."""
    sizes = [size for size in (params.get("batch_size"), params.get("grain")) if isinstance(size, int)]
    return min(sizes, default=None)


def formula_mib(model: str, params: Mapping[str, Any], shape: Shape, micro_batch: int | None) -> float:
    """Return the memory of *model* by its formula, in MiB; above zero.

    Args:
        model: name in the catalogue; the job of a model that is no longer there counts as a table of its data.
        params: the job's parameters, every default filled in.
        shape: rows and features of its data.
        micro_batch: samples that go through a net at once; None: as planned.
    """
    return _formula_of(model).mib(params, shape, micro_batch or planned_micro_batch(params) or 1)


def _formula_of(model: str) -> MemoryFormula:
    entry = MODELS.get(model)
    return entry.memory if entry is not None else TABLE


def line_for(model: str, backend: str, peaks: Sequence[Peak]) -> CorrectionLine:
    """Return the line of *model* on *backend*: learned from its own runs, else shifted by other runs, else as it ships.

    Args:
        model: name in the catalogue.
        backend: what trains it.
        peaks: memory that runs on that backend took, of every model, newest last.
    """
    prior = prior_for(model, backend)
    if _formula_of(model) is DECLARED:
        return prior
    own = [peak for peak in peaks if peak.model == model][-LAST_PEAKS:]
    if len(own) >= LEAST_PEAKS:
        return _learned(prior, own, f"{len(own)} runs of {model} on {backend}")
    if len(peaks) >= LEAST_PEAKS:
        return _shifted(prior, peaks[-LAST_PEAKS:], backend)
    return prior


def line_of_script(shape: str, params: Mapping[str, Any], peaks: Sequence[Peak]) -> CorrectionLine:
    """Return the line of a script: what its job declares, or the most that runs of its shape took if that is more.

    Args:
        shape: of its command, which stands for the model in *peaks*.
        params: its parameters.
        peaks: memory that scripts took, newest last.
    """
    own = [peak.measured_mib for peak in peaks if peak.model == shape][-LAST_PEAKS:]
    most = max(own, default=0.0)
    if most <= (params.get("memory_mib") or 0.0):
        return DECLARED.line
    return CorrectionLine(most, 0.0, 0.0, 0.0, len(own), f"{len(own)} runs of commands of this shape")


def prior_for(model: str, backend: str) -> CorrectionLine:
    """Return the line that ships for *model* on *backend*."""
    line = _formula_of(model).line
    if backend != "tensorflow":
        return line
    return CorrectionLine(
        line.base_mib + TENSORFLOW_EXTRA_MIB, line.factor, NEVER_RUN_DOUBT, source="never run on tensorflow"
    )


def _learned(prior: CorrectionLine, own: Sequence[Peak], source: str) -> CorrectionLine:
    """Fit by medians: the slope of pairs that lie apart (Theil and Sen), then the base.

    Without such pairs, the slope that ships and its doubt are kept.
    """
    slopes = [
        (b.measured_mib - a.measured_mib) / (b.formula_mib - a.formula_mib)
        for a, b in combinations(own, 2)
        if abs(b.formula_mib - a.formula_mib) >= LEAST_SPREAD_MIB
    ]
    has_slope = len(slopes) >= LEAST_PEAKS
    factor = min(max(median(slopes), FACTORS[0]), FACTORS[1]) if has_slope else prior.factor
    rests = [peak.measured_mib - factor * peak.formula_mib for peak in own]
    base = max(median(rests), 0.0)
    spread = 3 * 1.4826 * median(abs(rest - base) for rest in rests)
    return CorrectionLine(base, factor, 0.1 if has_slope else prior.doubt, spread, len(own), source)


def _shifted(prior: CorrectionLine, peaks: Sequence[Peak], backend: str) -> CorrectionLine:
    """Shift the line that ships by how far the runs of other models were from theirs."""
    missed = []
    for peak in peaks:
        line = prior_for(peak.model, backend)
        missed.append(peak.measured_mib - line.base_mib - line.factor * peak.formula_mib)
    shift = median(missed)
    spread = 3 * 1.4826 * median(abs(miss - shift) for miss in missed)
    source = f"{len(peaks)} runs of other models on {backend}"
    return CorrectionLine(max(prior.base_mib + shift, 0.0), prior.factor, prior.doubt, spread, len(peaks), source)
