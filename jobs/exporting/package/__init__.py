"""Files that every exported package gets a copy of. They import nothing of cbi-queue: the package has to work without it."""

from __future__ import annotations
