"""How hard is the machine pressed?"""

from __future__ import annotations
