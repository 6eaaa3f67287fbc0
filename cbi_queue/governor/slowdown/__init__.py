"""Is the work slow?"""

from __future__ import annotations
