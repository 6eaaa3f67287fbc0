"""Parameters of the models, one group a file."""

from __future__ import annotations
