"""What every training needs, whatever the model: checkpoints, timing, reports, seeds."""

from __future__ import annotations
