"""What the tests of the status page share: a queue of its own, and a client that speaks to its app."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from api_home import ApiHome

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from starlette.testclient import TestClient


@pytest.fixture
def site(tmp_path: Path) -> ApiHome:
    """An empty queue of its own."""
    return ApiHome(tmp_path)


@pytest.fixture
def client(site: ApiHome) -> Iterator[TestClient]:
    """A client of the app over that queue, with the Host that a browser on this machine sends."""
    from starlette.testclient import TestClient

    from cbi_queue.api.app import create_app

    with TestClient(create_app(site.settings), base_url=site.url, follow_redirects=False) as client:
        yield client


@pytest.fixture
def bearer(site: ApiHome, client: TestClient) -> dict[str, str]:
    """The headers that changes ask for."""
    from cbi_queue.api.token import read_token

    return {"Authorization": f"Bearer {read_token(site.settings)}"}
