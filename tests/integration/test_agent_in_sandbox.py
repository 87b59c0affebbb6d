"""An agent in a real sandbox: the driver reaches it through the server inside, and nothing of it outlives its turn."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from factory_agents import AgentNotInstalled, Preset, Text, build_agent
from factory_sandbox import provider
from factory_sandbox.client import Sandbox, node_key
from factory_sandbox.errors import Fenced
from factory_sandbox.providers import Spec

SCRIPT = f"""
rounds:
  - expect: [c1]
    say: "{"word " * 40_000}"
    do:
      - write: {{path: app.txt, text: "red\\n"}}
      - run: "pwd; env"
  - do: [append_forever: {{path: x.log, every_ms: 20, child: true}}]
  - do: [replace: {{path: app.txt, old: red, new: green}}]
"""


class Place:
    """A sandbox with the scripted agent in it, and agents of it to any epoch."""

    def __init__(self, handle, key: bytes, script: Path, checkout: Path) -> None:
        self.handle, self.key, self.script, self.checkout = handle, key, script, checkout
        self.agents = []

    def sandbox(self, epoch: int) -> Sandbox:
        return Sandbox(self.handle, self.key, epoch)

    async def agent(self, epoch: int, command: tuple[str, ...] = ()):
        sandbox = self.sandbox(epoch)
        cwd = (await sandbox.exec(["pwd", "-P"])).stdout.decode().strip()
        preset = Preset(command=command or (sys.executable, "-P", "-m", "factory_loopback.agent", str(self.script)))
        events = []
        agent = build_agent(
            preset,
            lambda argv, env: sandbox.spawn(argv, env=env),
            cwd,
            env={"MODEL_KEY": "k1"},
            on_event=events.append,
        )
        self.agents.append(agent)
        return agent, events


@pytest.fixture
async def place(tmp_path):
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    subprocess.run(["git", "init", "-q", str(checkout)], check=True)
    script = tmp_path / "script.yaml"
    script.write_text(SCRIPT)
    node_dir = tmp_path / "node"
    spec = Spec("n1", node_dir, "jabcdefghij", 1, checkout, shims={}, env={}, ports=(41000, 41009))
    local = provider("local")
    handle = await local.create(spec, 1)
    made = Place(handle, node_key(node_dir), script, checkout)
    yield made
    for agent in made.agents:
        try:
            await agent.close()
        except Fenced:
            pass  # a test moved the epoch on
    await local.destroy(handle)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


async def appending(place: Place, epoch: int):
    """An agent whose turn appends to a file together with a child: the turn, the agent, the two pids."""
    agent, _ = await place.agent(epoch)
    await agent.start()
    turn = asyncio.create_task(agent.prompt([Text("Round 2 of 3")], deadline=50))
    log = place.checkout / "x.log"
    async with asyncio.timeout(20):
        while not log.exists() or len({line.split()[0] for line in log.read_text().splitlines()}) < 2:
            await asyncio.sleep(0.02)
    pids = {int(line.split()[1]) for line in log.read_text().splitlines()}
    return turn, agent, pids


async def test_rounds_in_the_checkout(place):
    """The agent works in the checkout with the placement's environment; a line of 200 KB comes through."""
    agent, events = await place.agent(1)
    os.environ["SECRET_OF_THE_FACTORY"] = "secret"
    try:
        await agent.start()
        first = await agent.prompt([Text("Round 1 of 3: c1")], deadline=30)
    finally:
        del os.environ["SECRET_OF_THE_FACTORY"]
    assert (first.problem, first.tool_calls) == (None, 2)
    assert len(first.message) == 5 * 40_000 - 1
    shown = "\n".join(getattr(event, "output", "") for event in events).splitlines()
    assert str(place.checkout) in shown
    assert "MODEL_KEY=k1" in shown
    assert not any("SECRET_OF_THE_FACTORY" in line for line in shown)
    third = await agent.prompt([Text("Round 3 of 3")], deadline=30)
    assert third.problem is None
    assert (await place.sandbox(1).read("app.txt")) == b"green\n"
    await agent.close()
    assert (await place.sandbox(1).status())["spawns"] == []


async def test_an_agent_that_is_not_installed(place):
    """The sandbox's refusal becomes the agent's error."""
    agent, _ = await place.agent(1, command=("no-such-agent-xyz", "acp"))
    with pytest.raises(AgentNotInstalled, match="'no-such-agent-xyz acp' is not there in the sandbox"):
        await agent.start()


async def test_cancel_in_the_middle(place):
    """A cancelled turn ends with its child; the agent is asked, not killed, and takes the next turn."""
    turn, agent, pids = await appending(place, 1)
    await agent.cancel()
    assert (await turn).problem == "cancelled"
    assert sum(alive(pid) for pid in pids) == 1  # the agent itself
    assert (await agent.prompt([Text("Round 1 of 3: c1")], deadline=30)).problem is None


async def test_close_in_the_middle(place):
    """Closing ends the agent and its child, which has a session of its own."""
    turn, agent, pids = await appending(place, 1)
    await agent.close()
    assert (await turn).problem == "cancelled"
    assert not any(alive(pid) for pid in pids)


async def test_a_higher_epoch_ends_the_agent(place):
    """When another holder takes the job, the old turn says so, and nothing of its agent writes any more."""
    turn, _, pids = await appending(place, 1)
    await place.sandbox(2).take()
    assert not any(alive(pid) for pid in pids)
    size = (place.checkout / "x.log").stat().st_size
    with pytest.raises(Fenced):
        await turn
    agent, _ = await place.agent(2)
    await agent.start()
    assert (await agent.prompt([Text("Round 1 of 3: c1")], deadline=30)).problem is None
    assert (place.checkout / "x.log").stat().st_size == size
