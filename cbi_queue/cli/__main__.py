"""`python -m cbi_queue.cli`: the command line by module name, for service managers that know only the interpreter."""

from __future__ import annotations

from cbi_queue.cli import main

if __name__ == "__main__":
    main()
