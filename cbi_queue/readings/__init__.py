"""What sensors say: typed, or Unknown with why; as JSON and in words."""

from __future__ import annotations
