"""Stands for a Python with pip and no network: makes environments that are itself, and fails on demand.

FAKE_LOG: file that every call is written to. FAKE_VERSION: "3 12" by default. FAKE_PIP: exit status of pip, or `hang`.
FAKE_TRIAL: what the trial says is wrong.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path

arguments = sys.argv[1:]
with Path(os.environ["FAKE_LOG"]).open("a") as log:
    log.write(json.dumps(arguments) + "\n")
if arguments[0] == "-c":
    print(os.environ.get("FAKE_VERSION", "3 12"))
elif arguments[:2] == ["-m", "venv"]:
    folder = Path(arguments[2])
    (folder / "bin").mkdir(parents=True)
    (folder / "lib" / "python3.12" / "site-packages").mkdir(parents=True)
    shutil.copy(__file__, folder / "bin" / "python")
elif arguments[:3] == ["-m", "pip", "install"]:
    print("Collecting tensorflow", flush=True)
    while os.environ.get("FAKE_PIP") == "hang":
        signal.pause()
    sys.exit(int(os.environ.get("FAKE_PIP", "0")))
elif arguments[:2] == ["-P", "-m"]:
    if fault := os.environ.get("FAKE_TRIAL"):
        print("a traceback\n" + fault, file=sys.stderr)
        sys.exit(1)
    print(json.dumps({"tensorflow": "2.19.1", "devices": ["/device:CPU:0"]}))
else:
    sys.exit(f"unexpected: {arguments}")
