"""How a forecast is judged: splits and scores."""

from __future__ import annotations
