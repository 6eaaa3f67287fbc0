"""What is done about it?"""

from __future__ import annotations
