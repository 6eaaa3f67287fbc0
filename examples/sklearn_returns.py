"""scikit-learn: ridge regression of tomorrow's return on the last days' returns; figures in metrics.json.

python sklearn_returns.py prices.csv --alpha 1.0      # CSV or Parquet with a column `price`, oldest day first
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_absolute_error

parser = argparse.ArgumentParser()
parser.add_argument("data", type=Path)
parser.add_argument("--alpha", type=float, default=1.0)
parser.add_argument("--lags", type=int, default=5)
options = parser.parse_args()

read = pd.read_parquet if options.data.suffix == ".parquet" else pd.read_csv
returns = np.diff(np.log(read(options.data)["price"].dropna().to_numpy()))
past = np.lib.stride_tricks.sliding_window_view(returns, options.lags)[:-1]
target = returns[options.lags :]
cut = len(target) * 4 // 5  # the last fifth is never trained on

model = Ridge(alpha=options.alpha).fit(past[:cut], target[:cut])
figures = {
    "mae": mean_absolute_error(target[cut:], model.predict(past[cut:])),
    "mae_of_zero": mean_absolute_error(target[cut:], np.zeros(len(target) - cut)),
}
print(figures)
output = Path(os.environ.get("CBI_QUEUE_OUTPUT", "."))
(output / "metrics.json").write_text(json.dumps(figures))
