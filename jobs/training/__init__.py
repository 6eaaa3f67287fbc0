"""What every training needs, whatever is trained: checkpoints, timing, reports, seeds."""

from __future__ import annotations
