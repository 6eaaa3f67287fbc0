"""What the daemon does at boot with what an earlier one left behind."""

from __future__ import annotations
