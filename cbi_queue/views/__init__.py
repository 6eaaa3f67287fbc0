"""What can be seen. Views only read."""

from __future__ import annotations
