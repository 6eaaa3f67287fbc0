"""The benchmarks of the queue: `python -m benchmarks`. Each is a file of its own; `registry` lists them."""

from __future__ import annotations
