"""Stands for the daemon beside `loop_turns`: reads a trainer's reports, and watches it with the real monitor.

`python -m benchmarks.loop_company PID`, reports on standard input; prints a line when it watches. Neighbour:
`loop_overhead`, which starts it.
"""

from __future__ import annotations

import sys

from benchmarks.installation import installation
from cbi_queue.process_identity import ProcessIdentity
from cbi_queue.protocol import decode_report
from workers.sensors.monitor import Monitor


def main() -> None:
    """Watch and read until the reports end."""
    with installation() as home:
        monitor = Monitor(home.settings)
        monitor.watch(ProcessIdentity.of(int(sys.argv[1])))
        monitor.start()
        print("watching", flush=True)
        for line in sys.stdin.buffer:
            decode_report(line)
        monitor.stop()


if __name__ == "__main__":
    main()
