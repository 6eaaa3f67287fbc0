"""Sensors: one source a file, each returning a typed reading of `cbi_queue.readings`, or `Unknown` with why.

They measure and decide nothing. `sensor` defines what one is, `choice` which a machine has, `answers` reads them
without trusting them, `plausibility` checks the values, `composition` makes one reading out of several, `scripted` and
`recording` replace them by a trace. `monitor` reads them all.
"""

from __future__ import annotations
