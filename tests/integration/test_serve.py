"""`cbi-queue serve` as a process: real sockets, its size, its refusals."""

from __future__ import annotations

import http.client
import subprocess
import sys
import urllib.request

import psutil
import pytest
from support.api_installation import BROWSER, ApiInstallation

from cbi_queue.api.token import read_token

MOST_RSS_MIB = 90
pytestmark = pytest.mark.process


def test_a_real_server_refuses_a_rebound_name_obeys_the_token_and_stays_small(site):
    """Over real sockets: no test client between the request and the checks."""
    site.enqueue({"name": "a"}, {"name": "b"})
    with site.server() as process:
        rebound = _request(site, "GET", "/status", {"Host": f"evil.example:{site.port}"})
        without = _request(site, "POST", "/api/v1/jobs/a/cancel", {})
        bearer = {"Authorization": f"Bearer {read_token(site.settings)}"}
        cancelled = _request(site, "POST", "/api/v1/jobs/a/cancel", bearer)
        pages = [_request(site, "GET", "/status", {**BROWSER}) for _ in range(20)]
        _request(site, "GET", "/openapi.json", {})
        rss_mib = psutil.Process(process.pid).memory_info().rss / 2**20

    assert (rebound, without, cancelled) == (400, 401, 200)
    assert set(pages) == {200}
    assert rss_mib < MOST_RSS_MIB
    assert process.returncode == 0


def test_it_never_loads_what_makes_a_process_heavy(site):
    """sqlite-utils imports pandas and numpy where they are installed."""
    program = (
        "import sys\n"
        "from starlette.testclient import TestClient\n"
        "import cbi_queue.api.__main__\n"
        "from cbi_queue.api.app import create_app\n"
        "from cbi_queue.settings import load_settings\n"
        "settings = load_settings()\n"
        "client = TestClient(create_app(settings), base_url=f'http://localhost:{settings.port}')\n"
        "assert client.get('/status?format=html').status_code == 200\n"
        "assert client.get('/api/v1/leaderboard').status_code == 200\n"
        "heavy = {'sqlite_utils', 'pandas', 'numpy', 'polars', 'pyarrow', 'torch', 'huey', 'rich'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=site.environ, capture_output=True, text=True, check=False
    )

    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr


def test_a_port_in_use_is_refused_with_the_port_and_the_remedy(site):
    with site.server():
        done = _serve(site)

    assert done.returncode == 2
    assert f"port {site.port}" in done.stderr
    assert f"--port {site.port + 1}" in done.stderr


def test_serve_starts_before_anything_else_and_prints_the_address_and_where_the_token_is(site):
    """The page may be the first thing that a newcomer starts: it creates the ledger."""
    site.settings.ledger_path.unlink()

    with site.server() as process:
        assert urllib.request.urlopen(f"{site.url}/healthz", timeout=10).status == 200
        assert [process.stdout.readline().split()[0] for _ in range(4)] == ["Status", "API", "Token", "Browser"]


def test_an_address_that_others_can_reach_must_be_allowed_and_is_served_with_a_warning(site):
    site.environ["CBI_HOST"] = "0.0.0.0"
    refused = _serve(site)
    site.environ["CBI_OTHER_MACHINES"] = "allow"
    with site.server() as process:
        said = "".join(process.stdout.readline() for _ in range(5))

    assert refused.returncode == 2
    assert "--allow-other-machines" in refused.stderr
    assert "WARNING: 0.0.0.0 is reachable from other machines" in said


def test_an_address_of_another_machine_is_refused(site):
    done = _serve(site, "--host", "192.0.2.1", "--allow-other-machines")

    assert done.returncode == 2
    assert f"cannot serve on 192.0.2.1:{site.port}" in done.stderr


def _serve(site: ApiInstallation, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cbi_queue.cli", "serve", *options]
    return subprocess.run(command, env=site.environ, capture_output=True, text=True, timeout=60, check=False)


def _request(site: ApiInstallation, method: str, path: str, headers: dict[str, str]) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=30)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()
