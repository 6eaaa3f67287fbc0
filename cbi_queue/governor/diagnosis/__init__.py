"""Why is it slow?"""

from __future__ import annotations
