"""The driver and the scripted agent, a real process, through whole turns."""

import asyncio
import os
import sys
import time
from pathlib import Path

import msgspec
import pytest
from factory_agents import AnyEvent, Message, Permission, Plan, Preset, Text, ToolCall, ToolCallUpdate
from factory_agents.acp import AcpAgent

pytest.importorskip("factory_loopback.agent", reason="the scripted agent is part of software-factory-loopback")

THREE_ROUNDS = """
vars: {COLOUR: green}
rounds:
  - expect: ["Round 1 of", "c1"]
    say: I start with a test.
    plan: [a test, the code]
    do:
      - write: {path: app/colour.txt, text: "red\\n"}
      - run: grep green app/colour.txt
        allow_failure: true
  - expect: ["no green in colour.txt"]
    say: Now the code.
    do:
      - replace: {path: app/colour.txt, old: red, new: "${COLOUR} ${unknown}"}
  - say: And a check.
    do:
      - run: grep -c green app/colour.txt
"""


@pytest.fixture
async def scripted(spawn, tmp_path):
    """Makes a started agent that follows this script, and the list of its events."""
    agents = []

    async def start(script: str, **options):
        file = tmp_path / "script.yaml"
        file.write_text(script)
        preset = Preset(label="Scripted", command=(sys.executable, "-P", "-m", "factory_loopback.agent", str(file)))
        events = []
        agents.append(AcpAgent(spawn, preset, str(tmp_path), on_event=events.append, **options))
        await agents[-1].start()
        return agents[-1], events

    yield start
    for agent in agents:
        await agent.close()


def ask(round: int, text: str = "") -> list[Text]:
    return [Text(f"Round {round} of 5\n{text}")]


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


async def grown(path: Path, lines: int) -> list[str]:
    """The file's lines, once there are that many."""
    async with asyncio.timeout(20):
        while not path.exists() or len(path.read_text().splitlines()) < lines:
            await asyncio.sleep(0.02)
    return path.read_text().splitlines()


async def test_three_rounds(scripted, tmp_path):
    """Each round does what its script says; a process started anew goes on at the right round."""
    agent, events = await scripted(THREE_ROUNDS)
    first = await agent.prompt(ask(1, "c1: the colour is green"), deadline=20)
    assert (first.stop_reason, first.problem, first.message) == ("end_turn", None, "I start with a test.")
    assert first.tool_calls == 2
    second = await agent.prompt(ask(2, "no green in colour.txt"), deadline=20)
    assert second.problem is None
    assert (tmp_path / "app/colour.txt").read_text() == "green ${unknown}\n"
    await agent.close()
    agent, events = await scripted(THREE_ROUNDS)
    third = await agent.prompt(ask(3), deadline=20)
    assert (third.problem, third.message, third.denied, third.usage) == (None, "And a check.", [], None)
    [done] = [event for event in events if isinstance(event, ToolCallUpdate)]
    assert (done.status, done.output) == ("completed", "1\n")


async def test_what_is_told_of_a_round(scripted, tmp_path):
    """Plan, words, tool calls with kind, status and place come in order, and survive JSON."""
    agent, events = await scripted(THREE_ROUNDS)
    await agent.prompt(ask(1, "c1"), deadline=20)
    kinds = [type(event).__name__ for event in events]
    assert kinds == ["Plan", "Message", "ToolCall", "ToolCallUpdate", "ToolCall", "ToolCallUpdate", "Plan"]
    begun, done = [event for event in events if isinstance(event, Plan)]
    assert [(entry.content, entry.status) for entry in begun.entries] == [
        ("a test", "in_progress"),
        ("the code", "pending"),
    ]
    assert {entry.status for entry in done.entries} == {"completed"}
    write, run = [event for event in events if isinstance(event, ToolCall)]
    place = str(tmp_path / "app/colour.txt")
    assert (write.kind, write.status, write.locations) == ("edit", "in_progress", (place,))
    assert (run.kind, run.title) == ("execute", "grep green app/colour.txt")
    wrote = next(event for event in events if isinstance(event, ToolCallUpdate))
    assert (wrote.id, wrote.status, wrote.output) == (write.id, "completed", f"wrote {place}")
    assert msgspec.json.decode(msgspec.json.encode(events), type=list[AnyEvent]) == events


async def test_who_it_says_it_is(scripted):
    """It is called a scripted agent, for whoever reads the pull request."""
    agent, _ = await scripted(THREE_ROUNDS)
    assert (agent.info.name, agent.info.title) == ("scripted-agent", "Scripted agent")


async def test_refusal_when_it_was_not_told(scripted, tmp_path):
    """What the prompt lacks ends the turn in refusal, named, and nothing is done."""
    agent, _ = await scripted(THREE_ROUNDS)
    turn = await agent.prompt(ask(2, "everything is fine"), deadline=20)
    assert (turn.stop_reason, turn.problem, turn.tool_calls) == ("refusal", "refused", 0)
    assert turn.message == "For round 2 I was not told what I need: nothing matches /no green in colour.txt/."
    assert not (tmp_path / "app").exists()


async def test_a_step_that_fails(scripted):
    """A replace that does not match exactly once fails its tool call, and the agent says so and stops."""
    script = """
    rounds:
      - do:
          - write: {path: a.py, text: "x = 1; x = 1"}
          - replace: {path: a.py, old: "x = 1", new: "x = 2"}
          - write: {path: never.py, text: ""}
    """
    agent, events = await scripted(script)
    turn = await agent.prompt(ask(1), deadline=20)
    assert turn.stop_reason == "end_turn"
    assert "I stop here: a.py holds the text to replace 2 times, not once" in turn.message
    assert [event.status for event in events if isinstance(event, ToolCallUpdate)] == ["completed", "failed"]


async def test_cancel(scripted, tmp_path):
    """A turn that is cancelled ends at once, its children too, and the same agent takes the next turn."""
    script = """
    rounds:
      - do: [append_forever: {path: x.log, every_ms: 20, child: true}]
      - say: I am well.
    """
    agent, _ = await scripted(script)
    turn = asyncio.create_task(agent.prompt(ask(1), deadline=60))
    lines = await grown(tmp_path / "x.log", 10)
    pids = {line.split()[0]: int(line.split()[1]) for line in lines}
    assert pids.keys() == {"agent", "child"}
    began = time.monotonic()
    await agent.cancel()
    ended = await turn
    assert time.monotonic() - began < 1  # 0.2 s is the promise
    assert (ended.stop_reason, ended.problem) == ("cancelled", "cancelled")
    assert not alive(pids["child"])
    size = (tmp_path / "x.log").stat().st_size
    assert (await agent.prompt(ask(2), deadline=20)).message == "I am well."
    assert (tmp_path / "x.log").stat().st_size == size


async def test_cancel_without_a_turn(scripted):
    """Nothing to cancel is no error."""
    agent, _ = await scripted(THREE_ROUNDS)
    await agent.cancel()
    assert (await agent.prompt(ask(3), deadline=20)).stop_reason == "end_turn"


async def test_cancel_in_the_moment_of_the_prompt(scripted):
    """A cancel that comes with the prompt is not lost."""
    agent, _ = await scripted("rounds: [do: [sleep: 60]]", cancel_grace=30)
    turn, cancel = asyncio.create_task(agent.prompt(ask(1), deadline=50)), asyncio.create_task(agent.cancel())
    await cancel
    assert (await turn).stop_reason == "cancelled"


async def test_deadline(scripted):
    """At its deadline a turn is cancelled and counts as a failure; the agent lives."""
    agent, _ = await scripted("rounds: [do: [sleep: 60]]")
    turn = await agent.prompt(ask(1), deadline=0.3)
    assert (turn.stop_reason, turn.problem) == ("cancelled", "deadline")
    assert 0.3 <= turn.seconds < 5
    assert (await agent.prompt(ask(9), deadline=20)).stop_reason == "refusal"


@pytest.mark.parametrize("code", [0, 3])
async def test_it_dies_in_the_middle(scripted, code):
    """An agent that ends in its turn has failed, with exit code 0 as well."""
    agent, _ = await scripted(f"rounds: [{{say: I begin., do: [exit: {code}]}}]")
    turn = await agent.prompt(ask(1), deadline=20)
    assert (turn.problem, turn.stop_reason, turn.message) == ("agent_died", "", "I begin.")
    assert f"ended with exit code {code}" in turn.detail


async def test_a_huge_line(scripted):
    """200 KB in one update arrive whole."""
    words = "word " * 40_000
    agent, events = await scripted(f"rounds: [say: '{words}']")
    turn = await agent.prompt(ask(1), deadline=20)
    assert turn.message == words.strip()
    assert len([event for event in events if isinstance(event, Message)]) == 1


async def test_permission_allowed(scripted, tmp_path):
    """By default the narrowest yes is given, recorded, and the agent goes on."""
    agent, events = await scripted("rounds: [do: [{ask_permission: Drop it}, {write: {path: a, text: b}}]]")
    turn = await agent.prompt(ask(1), deadline=20)
    assert (turn.problem, turn.denied) == (None, [])
    assert (tmp_path / "a").read_text() == "b"
    [permission] = [event for event in events if isinstance(event, Permission)]
    assert (permission.title, permission.outcome, permission.option) == ("Drop it", "allowed", "Allow")


async def test_permission_denied(scripted, tmp_path):
    """A policy that says no is obeyed, and the turn counts as a failure though it ended well."""
    agent, _ = await scripted(
        "rounds: [do: [{ask_permission: Drop it}, {write: {path: a, text: b}}]]",
        permit=lambda title, kind: "Drop" not in title,
    )
    turn = await agent.prompt(ask(1), deadline=20)
    assert (turn.stop_reason, turn.problem, turn.denied) == ("end_turn", "permission_denied", ["Drop it"])
    assert "Drop it" in turn.detail
    assert "I was not allowed to: Drop it" in turn.message
    assert not (tmp_path / "a").exists()


async def test_the_environment(scripted, tmp_path):
    """What the caller adds to the preset reaches the agent's commands; the factory's own variables do not."""
    os.environ["FACTORY_SECRET_OF_OURS"] = "secret"
    try:
        agent, _ = await scripted("rounds: [do: [run: env > env.txt]]", env={"MODEL_KEY": "k1"})
        await agent.prompt(ask(1), deadline=20)
    finally:
        del os.environ["FACTORY_SECRET_OF_OURS"]
    environment = (tmp_path / "env.txt").read_text()
    assert "MODEL_KEY=k1" in environment
    assert "FACTORY_SECRET_OF_OURS" not in environment


async def test_one_turn_at_a_time(scripted):
    """A second prompt while one runs is the caller's mistake, and does no harm to the first."""
    agent, _ = await scripted("rounds: [do: [sleep: 0.5]]")
    first = asyncio.create_task(agent.prompt(ask(1), deadline=20))
    await asyncio.sleep(0.1)
    with pytest.raises(RuntimeError, match="in a turn already"):
        await agent.prompt(ask(1), deadline=20)
    assert (await first).problem is None
