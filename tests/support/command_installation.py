"""An installation for tests of the command line: its own state and data, and the real `cbi-queue` executable."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from cbi_queue.ledger import Ledger
from cbi_queue.settings import Settings, load_settings

EXECUTABLE = Path(sys.executable).with_name("cbi-queue")


@dataclass
class Home:
    """One installation below *root*."""

    root: Path

    @property
    def environ(self) -> dict[str, str]:
        """The environment of every command."""
        kept = {
            key: value for key, value in os.environ.items() if not key.startswith(("CBI_", "EXTERNAL_DRIVE", "COLUMNS"))
        }
        return {
            **kept,
            "CBI_STATE_DIR": str(self.root / "state"),
            "CBI_V14_REPO": str(self.root / "repo"),
            "CBI_PAGE_READING": "open",  # whatever accounts the machine of the tests has
            "CBI_CONFIG": str(self.root / "config.toml"),
            "CBI_TRACKING": "off",
        }

    @property
    def settings(self) -> Settings:
        """The settings that the commands read."""
        return load_settings(self.environ)

    def start(self, *arguments: str, **environ: str) -> subprocess.Popen[bytes]:
        """Start a command."""
        return subprocess.Popen(
            [EXECUTABLE, *arguments],
            env={**self.environ, **environ},
            cwd=self.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, *arguments: str, code: int = 0, **environ: str) -> str:
        """Run a command that must end with *code*; return what it printed, errors last."""
        child = self.start(*arguments, **environ)
        out, err = (text.decode() for text in child.communicate(timeout=120))
        assert child.returncode == code, f"{arguments} ended with {child.returncode}:\n{out}\n{err}"
        assert "Traceback" not in err
        return out + err

    def json(self, *arguments: str, code: int = 0, **environ: str):
        """Run a command with --json and read what it printed."""
        return json.loads(self.run(*arguments, "--json", code=code, **environ))

    def ledger(self) -> Ledger:
        """Open the ledger for writing."""
        return Ledger.open(self.settings.ledger_path)
