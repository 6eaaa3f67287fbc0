"""A week of training in simulated time: the real governor on a simulated machine. `weeks` runs it."""

from __future__ import annotations
