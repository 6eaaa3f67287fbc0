"""What can be seen of the queue. Read-only."""

from __future__ import annotations
