"""Serve this folder's model over HTTP, as Vertex AI asks of a container; also `python server.py` on any machine.

Routes, port and address come from the variables that Vertex sets: AIP_HTTP_PORT (8080), AIP_HEALTH_ROUTE (/health),
AIP_PREDICT_ROUTE (/predict); HOST is 127.0.0.1 unless set, and the Dockerfile sets 0.0.0.0. Port 0 takes a free one; the
first line printed is the address.

A request is either

- JSON, `{"instances": [{"rows": [[…], …], "price": 60.1}, …]}`: rows of features in the order of feature_schema.json,
  oldest first, null for a missing value; `price` may be left out of all, which leaves the move alone; or
- `application/octet-stream`: the features as little-endian 32-bit floats, with their shape in the header `X-Shape: n,L,F`
  and, if prices are wanted, `X-Prices: 60.1,61.2`. It costs less than half of what JSON does.

The answer is `{"predictions": [...]}`, one for each instance, in order. A request that cannot be forecast gets 400 with
`{"error": words}`, one that is too large 413. Nothing is kept between requests: each carries its whole window.
"""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from forecast import BadInput, Package  # type: ignore[import-not-found]  # lies beside this file
from starlette.concurrency import run_in_threadpool

MOST_BYTES = int(os.environ.get("MOST_BYTES", str(16 << 20)))
"""Largest body that is read; Vertex itself passes on 1.5 MB."""
MOST_WINDOWS = 1024


def application(package: Package) -> FastAPI:
    """Return the application that serves *package*."""
    app = FastAPI(
        title=str(package.names.get("display_name", "forecast")), docs_url=None, redoc_url=None, openapi_url=None
    )

    async def health() -> dict[str, str]:
        return {"status": "ready", **{name: str(value) for name, value in package.names.items()}}

    async def predict(request: Request) -> JSONResponse:
        body = await _bounded(request)
        if body is None:
            return JSONResponse({"error": f"the body is larger than {MOST_BYTES} bytes"}, 413)
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        try:
            if kind == "application/octet-stream":
                windows, prices = _from_bytes(body, request.headers)
            else:
                windows, prices = _from_json(body, package)
            if len(windows) > MOST_WINDOWS:
                raise BadInput(f"{len(windows)} instances are too many for one request; at most {MOST_WINDOWS}")
            # the session blocks: in a thread, so that /health answers meanwhile
            return JSONResponse({"predictions": await run_in_threadpool(package.forecast, windows, prices)})
        except BadInput as exc:
            return JSONResponse({"error": str(exc)}, 400)

    app.add_api_route(os.environ.get("AIP_HEALTH_ROUTE", "/health"), health, methods=["GET"])
    app.add_api_route(os.environ.get("AIP_PREDICT_ROUTE", "/predict"), predict, methods=["POST"])
    return app


async def _bounded(request: Request) -> bytes | None:
    """Return the body, or None as soon as it is too large, whatever its header says."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            return None
    return bytes(body)


def _from_json(body: bytes, package: Package) -> tuple[np.ndarray, list[float] | None]:
    try:
        instances = json.loads(body)["instances"]
        rows = [instance["rows"] for instance in instances]
        prices = [instance.get("price") for instance in instances]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise BadInput('the body must be JSON: {"instances": [{"rows": [[...], ...], "price": 60.1}, ...]}') from exc
    if not rows:
        raise BadInput("instances is empty")
    try:
        windows = np.array(rows, dtype=np.float32)  # None becomes NaN
    except (ValueError, TypeError, OverflowError) as exc:
        wanted = f"{package.window_rows} rows of {len(package.features)} numbers or null"
        raise BadInput(f"each instance's rows must be {wanted}") from exc
    return windows, _prices(prices)


def _from_bytes(body: bytes, headers: Any) -> tuple[np.ndarray, list[float] | None]:
    try:
        shape = [int(size) for size in headers["x-shape"].split(",")]
        windows = np.frombuffer(body, dtype="<f4").reshape(shape)
        given = headers.get("x-prices")
        prices: list[Any] = [float(price) for price in given.split(",")] if given else [None] * len(windows)
    except (KeyError, ValueError) as exc:
        raise BadInput("octets need the header X-Shape: n,L,F that fits their number, and X-Prices numbers") from exc
    if windows.ndim != 3 or not len(windows) or len(prices) != len(windows):
        raise BadInput(f"X-Shape must be n,L,F with n above 0, and X-Prices have n prices; the shape given is {shape}")
    return windows, _prices(prices)


def _prices(prices: list[Any]) -> list[float] | None:
    if all(price is None for price in prices):
        return None
    if not all(type(price) in {int, float} for price in prices):
        raise BadInput("price must be a number in every instance, or be left out of all")
    return [float(price) for price in prices]


def main() -> None:
    """Serve until told to stop."""
    app = application(Package(Path(__file__).resolve().parent))
    host, port = os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("AIP_HTTP_PORT", "8080"))
    listening = socket.create_server((host, port))
    print(f"http://{host}:{listening.getsockname()[1]}", flush=True)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_keep_alive=30))
    server.run(sockets=[listening])


if __name__ == "__main__":
    main()
