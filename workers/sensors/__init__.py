"""Sensors: one source a file, each returning a typed reading of `cbi_queue.readings`, or `Unknown` with why.

They look and decide nothing. `sensor` says what one is, `choice` which a machine has, `answers` how they are asked
without being trusted, `plausibility` what they may say, `composition` how several make one reading, `scripted` and
`recording` how a trace stands in for them. `workers.sensors.monitor` asks them all.
"""

from __future__ import annotations
