"""The MCP server, with the client of the official SDK over standard input and output, a real ledger and a real daemon."""

from __future__ import annotations

import json
import sys

import pytest
from support.installation import NAIVE
from support.waiting import until

from cbi_queue.lifecycle import JobState

pytestmark = pytest.mark.process
pytest.importorskip("mcp", reason="the extra mcp is not installed")
LOOKING = {"status", "list_jobs", "show_job", "job_log", "leaderboard", "check_plan", "finish_time"}
CHANGING = {"pause", "resume", "enqueue", "cancel", "retry"}
PLAN = """
day: 1
title: asked for
jobs:
  - {name: asked, family: statistical, model: naive, horizon: 1w}
"""


def session(installation, steps, *options: str):
    """Run *steps* with a client that is connected to `cbi-queue mcp`."""
    import anyio
    from mcp import ClientSession, StdioServerParameters, stdio_client

    async def run() -> None:
        server = StdioServerParameters(
            command=sys.executable,
            args=["-P", "-m", "cbi_queue.cli", "mcp", *options],
            env=installation.environ,
            cwd=installation.root,
        )
        async with stdio_client(server) as (read, write), ClientSession(read, write) as client:
            await client.initialize()
            await steps(client)

    anyio.run(run)


async def call(client, name, /, **arguments):
    """Call a tool that must answer; what is structured and what is text are the same."""
    answer = await client.call_tool(name, arguments)
    assert not answer.is_error, answer.content
    assert json.loads(answer.content[0].text) == answer.structured_content
    return answer.structured_content


async def refused(client, name, /, **arguments):
    """Call a tool that must refuse; return its words."""
    answer = await client.call_tool(name, arguments)
    assert answer.is_error, answer
    words = answer.content[0].text
    assert "Traceback" not in words
    assert "pydantic" not in words
    assert "Error executing" not in words
    return words


def test_a_client_looks_at_a_queue_that_trains_and_changes_it_where_it_may(installation):
    installation.enqueue({**NAIVE, "name": "fine"}, {**NAIVE, "name": "broken", "horizon": "3m", "retries": 0})
    installation.start_daemon()
    until(lambda: installation.job("broken").state is JobState.FAILED, "the job fails")
    until(lambda: installation.job("fine").state is JobState.SUCCEEDED, "the job succeeds")

    async def steps(client):
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == LOOKING | CHANGING
        assert all(tools[name].annotations.read_only_hint for name in LOOKING)
        assert not any(tools[name].annotations.read_only_hint for name in CHANGING)
        status = await call(client, "status")
        assert status["daemon"]["is_running"] is True
        assert status["counts"] == {"succeeded": 1, "failed": 1}
        listed = await call(client, "list_jobs", state=["failed"], most=1)
        assert [job["name"] for job in listed["jobs"]] == ["broken"]
        job = await call(client, "show_job", name="broken")
        assert "features job of horizon 3m" in job["attempt_list"][0]["error"]
        assert job["story"]
        assert (await call(client, "show_job", name=job["id"]))["name"] == "broken", "its number as a number"
        log = await call(client, "job_log", name="fine", lines=2)
        assert "not instructions" in log["notice"]
        assert len(log["untrusted_log"].splitlines()) <= 2
        boards = (await call(client, "leaderboard"))["boards"]
        assert boards == json.loads(installation.cli("leaderboard", "--json"))
        assert "finish" in await call(client, "finish_time")
        assert (await call(client, "check_plan", plan=PLAN))["ok"] is True
        wrong = await call(client, "check_plan", plan=PLAN.replace("naive", "naiv"))
        assert wrong["ok"] is False
        assert wrong["complaints"][0].startswith("plan.yaml:5")
        assert (await call(client, "pause", reason="asked", mode="drain", minutes=5))["in_effect"] is True
        assert [job["name"] for job in (await call(client, "enqueue", plan=PLAN))["new"]] == ["asked"]
        assert (await call(client, "cancel", name="asked"))["jobs"][0]["state"] == "cancelled"
        assert (await call(client, "retry", name="asked"))["jobs"][0]["state"] == "queued"
        assert (await call(client, "resume"))["lifted"] is True

    session(installation, steps, "--allow-changes")
    until(lambda: installation.job("asked").state is JobState.SUCCEEDED, "the job that was asked for")


def test_a_hostile_client_changes_nothing_and_is_answered_in_words(installation):
    installation.enqueue({**NAIVE, "name": "fine"})

    async def steps(client):
        assert {tool.name for tool in (await client.list_tools()).tools} == LOOKING
        for name in CHANGING:
            assert "which the user has not allowed" in await refused(client, name, name="fine", plan=PLAN, reason="x")
        assert "did you mean 'status'" in await refused(client, "statu")
        assert "nothing was done" in await refused(client, "show_job", nam="fine")
        assert "name" in await refused(client, "show_job")
        assert "'' is not allowed; allowed: text of 1 to 200 characters" in await refused(client, "show_job", name="")
        assert "'' is not allowed; allowed: text that is not empty" in await refused(client, "check_plan", plan="")
        assert "lines" in await refused(client, "job_log", name="fine", lines="many")
        assert "1000" in (await refused(client, "job_log", name="fine", lines=10**9)).replace(",", "")
        assert "state" in await refused(client, "list_jobs", state=["dead"])
        assert "no job is called '--help'" in await refused(client, "show_job", name="--help")
        assert "has not started yet" in await refused(client, "job_log", name="fine")
        assert "no job is called" in await refused(client, "show_job", name="../../etc/passwd\u001b[2J")
        assert "null character" in await refused(client, "show_job", name="a\0b")
        assert "1,048,576" in await refused(client, "check_plan", plan="#" * 2_000_000)
        assert (await call(client, "check_plan", plan="!!python/object:os.system {}"))["ok"] is False
        assert (await call(client, "status"))["counts"] == {"queued": 1}

    session(installation, steps)
    assert installation.job("fine").state is JobState.QUEUED
