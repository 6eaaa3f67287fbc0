"""What models share that are refitted along the way."""

from __future__ import annotations
