"""What can be trained: the one place where a new model is declared."""

from __future__ import annotations
