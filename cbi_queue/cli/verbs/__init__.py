"""One file per verb, imported when the verb is called."""

from __future__ import annotations
