"""One verb a file, imported when called."""

from __future__ import annotations
