"""`python -m jobs.forecasting`: the forecasts of one data set, in a process of its own. JSON in, JSON out.

Standard input as `jobs.forecasting.making.make` reads it; standard output what that returns, or {"refused_all": words}.
What libraries print goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys

from cbi_queue.regular_files import in_words, plain_words
from jobs.trainer import BrokenSpec


def main() -> None:
    """Forecast."""
    asked = json.load(sys.stdin)
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        from jobs.forecasting.making import make

        said = make(asked)
    except BrokenSpec as exc:
        said = {"refused_all": str(exc)}
    except OSError as exc:
        said = {"failed": plain_words(exc), "hint": in_words(exc).hint}
    except ImportError as exc:
        said = {
            "refused_all": f"{sys.executable} lacks {exc.name or exc}, which a forecast needs: install cbi-queue[train]"
        }
    with answer:
        json.dump(said, answer, allow_nan=False)


if __name__ == "__main__":
    main()
