"""Forecast a price from this folder alone: `python forecast.py FEATURES.csv`. Needs numpy and onnxruntime, nothing else.

FEATURES has one row a day, oldest first, with the columns `date`, `price` and the features that feature_schema.json
names, in any order; other columns are ignored, an empty cell is a missing value. The last rows, as many as the model
looks at, give one forecast, printed as JSON. A Parquet file needs pyarrow as well.

The chain: features as float32 -> preprocessing as preproc.json has it -> a window of rows -> model/model.onnx -> the
log return (or difference) of the price over the horizon, times the shrinkage -> price, with the intervals that were
measured when the model was trained.

Letters: n windows, L rows of a window, F features, I inputs of the model.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np

TRADING_DAYS, DAYS_OF_YEAR = 252.0, 365.25
WHOLE_DAYS_BELOW = 10
"""A gap between rows of fewer days is rounded to whole days; months and quarters are unequal."""


class BadInput(Exception):
    """The input cannot be forecast; the words say why."""


class Preprocessing:
    """What stands before and behind the model: rows of features to its inputs, its outputs to moves."""

    def __init__(self, preproc: dict[str, Any], features: list[str]) -> None:
        """Take a description as in preproc.json, and the names of the features in their order."""
        self.preproc, self.features = preproc, features
        self.window_rows: int = preproc["window_rows"]
        hidden = set(preproc["quarantined"])
        self._hidden = np.array([name in hidden for name in features], dtype=bool)  # (F,)
        self._standardiser = _Standardiser(preproc["standardise"]) if preproc["standardise"] else None

    def inputs(self, windows: np.ndarray) -> np.ndarray:
        """Return what the model takes: (n, L, F) float32 with NaN -> (n, F) or (n, L, I) float32."""
        x = np.array(windows, dtype=np.float32)
        if x.ndim != 3 or x.shape[1:] != (self.window_rows, len(self.features)):
            wanted = f"{self.window_rows} rows of {len(self.features)} features"
            raise BadInput(f"a window must be {wanted}; the shape given is {list(x.shape)}")
        if np.isinf(x).any():
            raise BadInput("a feature is infinite, or too large for a 32-bit number; leave a missing value empty")
        x[:, :, self._hidden] = np.nan
        if self._standardiser is None:
            return np.ascontiguousarray(x[:, -1, :])
        return self._standardiser.transform(x)

    def scaled(self, outputs: np.ndarray) -> np.ndarray:
        """Return the move, (n,) float64, for each (n,) output of the model."""
        raw = outputs * self.preproc["target_sd"] + self.preproc["target_mean"]
        return np.asarray(float(self.preproc["forecast_factor"]) * raw + 0.0)  # no negative zeros


class Package(Preprocessing):
    """One exported model: its description, and a session that runs it on one thread."""

    def __init__(self, folder: Path) -> None:
        """Load the package in *folder*."""
        try:
            import onnxruntime as ort
        except ImportError as exc:
            raise BadInput(f"{sys.executable} has no onnxruntime; `pip install numpy onnxruntime` brings it") from exc
        features = [each["name"] for each in _json(folder / "feature_schema.json")["features"]]
        super().__init__(_json(folder / "preproc.json"), features)
        self.names: dict[str, Any] = _json(folder / "package.json") if (folder / "package.json").exists() else {}
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        model = str(folder / self.preproc["model"])
        self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def run(self, inputs: np.ndarray) -> np.ndarray:
        """Return the (n,) float64 outputs of the model, not yet scaled."""
        return np.asarray(self._session.run(None, {self._input: inputs})[0], dtype=np.float64).reshape(-1)

    def moves(self, windows: np.ndarray) -> np.ndarray:
        """Return f, (n,) float64: the log return (or difference) of the price over the horizon that is forecast."""
        return self.scaled(self.run(self.inputs(windows)))

    def forecast(self, windows: np.ndarray, prices: list[float] | None = None) -> list[dict[str, float | None]]:
        """Return one forecast a window: the move, and with *prices*, (n,), the price and its intervals."""
        if prices is None:
            return [{"predicted_move": _finite(f)} for f in self.moves(windows)]
        for price in prices:
            if not (math.isfinite(price) and (price > 0 or not self._is_log)):
                raise BadInput(f"the price is {price}; it must be a finite number above 0")
        return [self._priced(f, price) for f, price in zip(self.moves(windows), prices, strict=True)]

    @property
    def _is_log(self) -> bool:
        return bool(self.preproc["label"] == "log_return")

    def _priced(self, move: float, price: float) -> dict[str, float | None]:
        def moved(by: float) -> float | None:
            with np.errstate(over="ignore"):
                return _finite(price * np.exp(by) if self._is_log else price + by)

        found: dict[str, float | None] = {
            "price": price,
            "predicted_move": _finite(move),
            "predicted_price": moved(move),
        }
        for percent, width in sorted(self.preproc["half_widths"].items()):
            found[f"lower_{percent}"] = None if width is None else moved(move - width)
            found[f"upper_{percent}"] = None if width is None else moved(move + width)
        return found

    def target_date(self, date: str) -> str:
        """Return the day that is forecast on *date*; weekdays are counted, since nobody knows the holidays to come."""
        last = np.datetime64(date, "D")
        ahead, per_year = self.preproc["horizon_rows"], self.preproc["periods_per_year"]
        if per_year == TRADING_DAYS:
            return str(np.busday_offset(last, ahead, roll="backward"))
        gap = DAYS_OF_YEAR / per_year
        days = round(ahead * (round(gap) if gap < WHOLE_DAYS_BELOW else gap))
        return str(last + np.timedelta64(days, "D"))


class _Standardiser:
    """z = (x - mean) * scale, cut off, missing as 0, and the share of each group that is missing as further columns."""

    def __init__(self, told: dict[str, Any]) -> None:
        self._mean, self._scale = np.array(told["mean"]), np.array(told["scale"])  # (F,) float64 each
        self._limit = float(told["limit_sd"])
        place = {name: at for at, name in enumerate(told["features"])}
        self._groups = [np.array([place[name] for name in names]) for names in told["indicators"]]

    def transform(self, x: np.ndarray) -> np.ndarray:
        """Map (n, L, F) with NaN to (n, L, I) float32 without."""
        z = np.nan_to_num(np.clip((x - self._mean) * self._scale, -self._limit, self._limit), nan=0.0)
        missing = [np.isnan(x[:, :, group]).mean(axis=2, keepdims=True) for group in self._groups]  # (n, L, 1) each
        return np.concatenate([z, *missing], axis=2).astype(np.float32)


def read_table(path: Path, features: list[str]) -> tuple[list[str], list[float], np.ndarray]:
    """Return the dates, the prices and the features, (rows, F) float32, of a CSV or Parquet file.

    Raises:
        BadInput: when it cannot be read, a column is missing, or a cell holds no number.
    """
    columns = _parquet(path) if path.suffix == ".parquet" else _csv(path)
    absent = [name for name in ("date", "price", *features) if name not in columns]
    if absent:
        more = f" and {len(absent) - 3} more" if len(absent) > 3 else ""
        raise BadInput(f"{path} has no column {', '.join(absent[:3])}{more}")
    wanted = [_numbers(columns[name], name, path) for name in features]
    x = np.array(wanted, dtype=np.float64).reshape(len(features), -1).T.astype(np.float32)  # (rows, F)
    dates = _dates(columns["date"], path)
    backwards = next((at for at in range(1, len(dates)) if dates[at] <= dates[at - 1]), None)
    if backwards is not None:
        raise BadInput(f"{path}: the dates do not rise: {dates[backwards]} follows {dates[backwards - 1]}")
    return dates, _numbers(columns["price"], "price", path), x


def _dates(values: list[Any], path: Path) -> list[str]:
    found = []
    for row, value in enumerate(values, start=2):
        try:
            found.append(str(np.datetime64(str(value)[:10], "D")))
        except ValueError as exc:
            raise BadInput(f"{path}: column date, row {row}: {str(value)[:40]!r} is no day such as 2026-11-30") from exc
    return found


def _csv(path: Path) -> dict[str, list[Any]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file))
    except OSError as exc:
        raise BadInput(f"{path} cannot be read: {exc.strerror}") from exc
    except (UnicodeDecodeError, csv.Error) as exc:
        raise BadInput(f"{path} cannot be read as CSV: {exc}") from exc
    head, *body = [row for row in rows if row] or [[]]
    twice = next((name for at, name in enumerate(head) if name in head[:at]), None)
    if twice is not None:
        raise BadInput(f"{path} has two columns {twice!r}")
    short = next((number for number, row in enumerate(body, start=2) if len(row) != len(head)), None)
    if short is not None:
        raise BadInput(f"{path}: row {short} has another number of cells than the header, which has {len(head)}")
    return {name: [row[at] for row in body] for at, name in enumerate(head)}


def _parquet(path: Path) -> dict[str, list[Any]]:
    try:
        import pyarrow.parquet as pq
    except ImportError as exc:
        raise BadInput(f"{path}: reading Parquet needs pyarrow; install it, or give a CSV file") from exc
    try:
        found: dict[str, list[Any]] = pq.read_table(path).to_pydict()
    except Exception as exc:
        raise BadInput(f"{path} cannot be read as Parquet: {' '.join(str(exc).split())[:200]}") from exc
    return found


def _numbers(values: list[Any], name: str, path: Path) -> list[float]:
    found = []
    for row, value in enumerate(values, start=2):
        try:
            found.append(math.nan if value is None or value == "" else float(value))
        except (TypeError, ValueError) as exc:
            raise BadInput(f"{path}: column {name}, row {row}: {str(value)[:40]!r} is no number") from exc
    return found


def forecast_file(package: Package, path: Path) -> dict[str, Any]:
    """Return the forecast from the last rows of a file, as JSON values.

    Raises:
        BadInput: when the file has too few rows, or as `read_table`.
    """
    dates, prices, x = read_table(path, package.features)
    rows = package.window_rows
    if len(x) < rows:
        raise BadInput(f"{path} has {len(x)} rows; the model looks at the last {rows}")
    found = package.forecast(x[None, -rows:], [prices[-1]])[0]
    return {**package.names, "date": dates[-1], "target_date": package.target_date(dates[-1]), **found}


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def main() -> int:
    """Forecast from the file named on the command line."""
    parser = argparse.ArgumentParser(prog="forecast.py", description="Forecast the price from a table of features.")
    parser.add_argument("features", type=Path, metavar="FEATURES", help="CSV or Parquet: date, price and the features")
    arguments = parser.parse_args()
    try:
        found = forecast_file(Package(Path(__file__).resolve().parent), arguments.features)
    except BadInput as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 2
    print(json.dumps(found, indent=2, allow_nan=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
