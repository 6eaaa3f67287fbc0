"""The page of one job, its plots, its log in parts and its files: what they show, and what they refuse."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path

import pytest
from support.api_installation import BROWSER, scores

from cbi_queue.artifacts import Manifest, complete_folder
from cbi_queue.ledger import queries
from cbi_queue.telemetry.telemetry import Telemetry
from cbi_queue.views.log_part import PART_BYTES, shown

MARKUP = "<script>window.hacked = 1</script>"


def bytes_read() -> int:
    """Bytes that this process has read from files so far; 0 where the system does not count them."""
    counted = Path("/proc/self/io")
    return int(counted.read_text().split("rchar:")[1].split()[0]) if counted.exists() else 0


def stored_run(site, name: str, folder: Path) -> Path:
    """Finish the job in the slot with a run folder that holds real forecasts and a file of bytes."""
    import polars as pl

    folder.mkdir()
    days = [dt.date(2024, 1, 1) + dt.timedelta(days=n) for n in range(6)]
    blocks = ["train", "validation", "validation", "validation", "backtest", "final"]
    price = [10.0, 11.0, 12.0, 13.0, 14.0, 15.0]
    pl.DataFrame(
        {
            "date": days, "target_date": days, "block": blocks, "predicted_price": price, "actual_price": price,
            "lower_95": [p - 1 for p in price], "upper_95": [p + 1 for p in price],
        }
    ).write_parquet(folder / "predictions.parquet")  # fmt: skip
    (folder / "model.txt").write_bytes(bytes(range(100)))
    (folder / "link.txt").symlink_to("/etc/hostname")
    with site.ledger() as ledger:
        job = queries.find_job(ledger, name)
        ledger.conn.execute("UPDATE jobs SET run_dir = ? WHERE id = ?", (str(folder), job.id))
        complete_folder(folder, Manifest(ledger.ledger_id, job.id, 1, job.identity))
    site.finish(name, scores(0.25))
    return folder


def test_the_page_shows_a_job_from_its_spec_to_its_log_and_escapes_all_of_it(site, client):
    site.enqueue({"name": "good"}, {"name": "waits", "needs": ["good"]})
    site.start_next(log=f"{MARKUP}\n\x1b[31mred\x1b[0m \x00 10%\r20%\nlast\n")
    site.report("good", [0.9, 0.7, 0.6])

    page = client.get("/jobs/good", headers=BROWSER).text

    assert MARKUP not in page
    assert "&lt;script&gt;" in page
    assert "20%\nlast" in page
    assert "10%" not in page
    assert "epoch 3/20" in page
    assert 'action="/jobs/1/cancel"' in page
    assert 'action="/jobs/1/retry"' not in page
    assert "disabled" in page
    assert "<ol" in page
    assert client.get("/jobs/1", headers=BROWSER).status_code == 200
    assert "It was never in the slot" in client.get("/jobs/waits", headers=BROWSER).text
    missing = client.get("/jobs/god", headers=BROWSER)
    assert missing.status_code == 404
    assert "similar names: good" in missing.text
    picture = client.get("/jobs/good/plots/1/work.svg")
    assert picture.headers["content-type"] == "image/svg+xml"
    assert "Validation loss" in picture.text

    assert "No daemon is running; it resumes from its last checkpoint" in page
    assert "<title>(!) good: running" in page
    assert "icon-alarm.svg" in page
    with site.daemon():
        page = client.get("/jobs/good", headers=BROWSER).text
    assert "<title>good: running" in page
    assert "No daemon is running" not in page

    site.fail("good", MARKUP)
    page = client.get("/jobs/good", headers=BROWSER).text
    assert "<title>(!) good: failed" in page
    assert MARKUP not in page
    assert 'action="/jobs/1/retry"' in page
    assert 'action="/jobs/1/cancel"' not in page


@pytest.mark.process
def test_a_run_is_downloaded_whole_or_in_ranges_and_nothing_else_is(site, client, tmp_path, monkeypatch):
    site.enqueue({"name": "good"})
    site.start_next()
    folder = stored_run(site, "good", site.settings.models / "run")

    page = client.get("/jobs/good", headers=BROWSER).text
    assert "/jobs/1/artifacts/model.txt" in page
    assert "+0.250" in page
    whole = client.get("/jobs/good/artifacts/model.txt")
    assert whole.content == bytes(range(100))
    assert whole.headers["content-disposition"].startswith("attachment;")
    assert whole.headers["x-content-type-options"] == "nosniff"
    for asked, answer in (("bytes=10-19", range(10, 20)), ("bytes=90-", range(90, 100)), ("bytes=-5", range(95, 100))):
        part = client.get("/jobs/good/artifacts/model.txt", headers={"Range": asked})
        assert (part.status_code, part.content) == (206, bytes(answer))
    assert client.get("/jobs/good/artifacts/model.txt", headers={"Range": "bytes=100-"}).status_code == 416

    read: list[int] = []
    monkeypatch.setattr("cbi_queue.api.routes_job_page.StreamingResponse", lambda *_args, **_keys: read.append(1))
    head = client.head("/jobs/good/artifacts/model.txt")
    assert (head.status_code, head.headers["content-length"], head.content, read) == (200, "100", b"", [])
    head = client.head("/jobs/good/artifacts/model.txt", headers={"Range": "bytes=10-19"})
    assert (head.status_code, head.headers["content-range"], read) == (206, "bytes 10-19/100", [])
    monkeypatch.undo()

    refused = ("link.txt", "manifest.json", "..%2f..%2fetc%2fpasswd", "%2fetc%2fpasswd", "checkpoints/x")
    assert [client.get(f"/jobs/good/artifacts/{path}").status_code for path in refused] == [404] * len(refused)
    (folder / "model.txt").unlink()
    (folder / "model.txt").symlink_to("/etc/hostname")
    assert client.get("/jobs/good/artifacts/model.txt").status_code == 404

    import polars as pl

    path = folder / "predictions.parquet"
    own = path.read_bytes()
    pl.read_parquet(path).with_columns(predicted_price=pl.lit(99.0)).write_parquet(path)
    changed = client.get("/api/v1/jobs/good/forecasts")
    assert (changed.status_code, "differs from its checksum" in changed.text) == (404, True)
    path.write_bytes(own)
    forecasts = client.get("/api/v1/jobs/good/forecasts").json()
    assert forecasts["predicted_price"] == [11.0, 12.0, 13.0]
    assert forecasts["upper_95"] == [12.0, 13.0, 14.0]
    assert "<polygon" in client.get("/jobs/good/plots/forecast.svg").text

    stated = (folder / "manifest.json").read_text()
    with site.ledger() as ledger:
        (folder / "manifest.json").write_text(stated.replace(ledger.ledger_id, "another-ledger"))
    page = client.get("/jobs/good", headers=BROWSER).text
    assert "the run folder belongs to another job now" in page
    assert "/jobs/1/artifacts/" not in page
    assert client.get("/jobs/good/artifacts/predictions.parquet").status_code == 404
    (folder / "manifest.json").write_text("{")
    page = client.get("/jobs/good", headers=BROWSER)
    assert (page.status_code, "its manifest is damaged" in page.text) == (200, True)
    (folder / "manifest.json").write_text(stated)
    folder.rename(tmp_path / "gone")
    with site.ledger() as ledger:
        ledger.conn.execute("UPDATE jobs SET run_dir = ?", (str(tmp_path / "gone"),))
    assert "lies outside" in client.get("/jobs/good", headers=BROWSER).text
    assert client.get("/jobs/good/artifacts/predictions.parquet").status_code == 404
    with site.ledger() as ledger:
        ledger.conn.execute("UPDATE jobs SET run_dir = ?", (str(folder),))
    page = client.get("/jobs/good", headers=BROWSER)
    assert (page.status_code, "is missing" in page.text) == (200, True)


def test_a_log_outside_the_folder_of_logs_is_not_served(site, client, tmp_path):
    """The ledger names the file; a row that names another file, also through a link, must not open it."""
    secret = tmp_path / "secret.txt"
    secret.write_text("sesame")
    link = site.settings.training_log_dir / "link.log"
    link.symlink_to(secret)
    site.enqueue({"name": "a"}, {"name": "b"})
    site.start_next(log_path=secret)
    site.finish("a", {})
    site.start_next(log_path=link)

    for name in ("a", "b"):
        answer = client.get(f"/api/v1/jobs/{name}/log")
        assert answer.status_code == 404
        assert "outside" in answer.json()["detail"]
        part = client.get(f"/api/v1/jobs/{name}/log/part?attempt=1")
        assert (part.status_code, "outside" in part.text) == (404, True)
        page = client.get(f"/jobs/{name}", headers=BROWSER).text
        assert "is not shown" in page
        assert "sesame" not in page + part.text + answer.text


def test_a_log_is_followed_part_by_part_and_a_hundred_megabytes_cost_nothing(site, client):
    site.enqueue({"name": "long"})
    site.start_next(log="first\nhal")
    path = site.settings.training_log_dir / "long-attempt-1.log"
    part = client.get("/api/v1/jobs/long/log/part?attempt=1").json()
    assert (part["text"], part["next"]) == ("first\n", 6)
    with path.open("a") as log:
        log.write("f\nsecond\n")
    assert client.get(f"/api/v1/jobs/long/log/part?attempt=1&offset={part['next']}").json()["text"] == "half\nsecond\n"

    with path.open("r+b") as log:
        log.truncate(100_000_000)
        log.seek(0, os.SEEK_END)
        log.write(b"\nthe end\n")
    before = bytes_read()
    page = client.get("/jobs/long", headers=BROWSER).text
    assert bytes_read() - before < 10_000_000
    assert "the end" in page
    assert len(client.get("/api/v1/jobs/long/log/part?attempt=1").json()["text"]) <= PART_BYTES
    assert client.get("/api/v1/jobs/long/log/part?attempt=2").status_code == 404
    assert client.get("/api/v1/jobs/long/log/part?attempt=1&offset=-1").status_code == 422


def test_a_hundred_thousand_epochs_are_thinned_and_their_spike_is_kept(site, client):
    site.enqueue({"name": "long"})
    site.start_next()
    with site.ledger() as ledger:
        begin = queries.attempts_of(ledger, 1)[0].started_at
        ledger.conn.execute("UPDATE attempts SET outcome = 'evicted', ended_at = ?", (begin + 100_000,))
    telemetry = Telemetry(site.settings.telemetry_path)
    telemetry.write(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) "
        "INSERT INTO epochs SELECT 1, 1, i, 100000, 'epoch', ? + i, 1.0, 10, 1.0 / i, "
        "CASE i WHEN 54321 THEN 77.0 ELSE 1.0 END, NULL, 0 FROM n",
        (begin,),
    )
    telemetry.write(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000) "
        "INSERT INTO samples SELECT ? + 3 * i, 1, ? FROM n",
        (begin, '{"thermal": {"temp_c": 61.5}, "footprint": {"footprint_mib": 512.0}, "gpu": {"unknown": "none"}}'),
    )
    telemetry.close()
    with site.ledger() as ledger:
        ledger.conn.execute("UPDATE jobs SET state = 'queued'")
    client.get("/jobs/long/plots/1/work.svg")

    for path in ("/jobs/long/plots/1/work.svg", "/api/v1/jobs/long/curves", "/jobs/long"):
        answer = client.get(path, headers=BROWSER)
        assert answer.status_code == 200
        assert len(answer.content) < 500_000, path
    answer = client.get("/api/v1/jobs/long/curves")
    assert client.get("/api/v1/jobs/long/curves", headers={"If-None-Match": answer.headers["etag"]}).status_code == 304
    found = answer.json()

    losses = {curve["name"]: [value for _, value in curve["points"]] for curve in found["curves"]}
    assert max(map(len, losses.values())) <= 2_000
    assert max(losses["Validation loss"]) == 77.0
    assert 800 < len(losses["Heat"]) <= 900
    assert set(losses["Heat"]) == {61.5}
    page = client.get("/jobs/long", headers=BROWSER).text
    assert "100,000 epochs are recorded" in page
    assert len(page) < 50_000


@pytest.mark.parametrize(
    ("written", "seen"),
    [
        (b"\x1b]0;title\x07\x1b[1;31mred\x1b[0m", "red"),
        (b"1%\r2%\r3%\r\ndone\r\n", "3%\ndone\n"),
        (b"a\xffb\x00", "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}"),
        ("\N{RIGHT-TO-LEFT OVERRIDE}x".encode(), "\N{REPLACEMENT CHARACTER}x"),
    ],
)
def test_a_log_is_shown_without_control_characters(written, seen):
    assert shown(written) == seen
