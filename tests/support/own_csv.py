"""A forecaster's own CSV, made of real series: WTI crude as the price, beside it the S&P 500 and the VIX.

python tests/support/own_csv.py zl.csv 2600     writes the one of docs/own-data.md
"""

from __future__ import annotations

import sys
from pathlib import Path

import arch.data.sp500
import arch.data.vix
import arch.data.wti

ROWS = 2600
EMPTY = range(500, 526)
"""Rows without a price."""


def write_own_csv(path: Path, rows: int = ROWS) -> None:
    """Write the newest *rows* days: dates in the US form, 26 empty prices, a text column, a name that no feature has."""
    price = arch.data.wti.load()["DCOILWTICO"].dropna()
    price = price[price > 0].iloc[-rows:]
    beside = [arch.data.sp500.load()["Adj Close"], arch.data.vix.load()["vix"]]
    columns = [price.mask([at in EMPTY for at in range(rows)]), *(series.reindex(price.index) for series in beside)]
    cells = [["" if value != value else f"{value:.2f}" for value in column] for column in columns]  # noqa: PLR0124
    lines = [
        ",".join([f"{day:%m/%d/%Y}", *numbers, f"CL{day:%b}"])
        for day, *numbers in zip(price.index, *cells, strict=True)
    ]
    path.write_text("\n".join(["Date,Settle,S&P 500,VIX,Contract", *lines, ""]), encoding="utf-8")


if __name__ == "__main__":
    write_own_csv(Path(sys.argv[1]), int(sys.argv[2]))
