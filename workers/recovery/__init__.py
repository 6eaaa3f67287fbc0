"""What the daemon does at boot with the row and the trainer that an earlier daemon left."""

from __future__ import annotations
