"""How an agent that misbehaves is told from one that works."""

import asyncio
import json
import time
from pathlib import Path

import pytest
from factory_agents import (
    AgentDied,
    AgentNeedsLogin,
    AgentNotInstalled,
    AgentProtocolError,
    AgentRefused,
    AgentTimeout,
    Image,
    Link,
    Message,
    Permission,
    Preset,
    Stderr,
    Text,
    ToolCall,
)
from factory_agents.acp import AcpAgent
from factory_agents.process import TAIL

HELLO = [Text("hello")]


async def turn_of(agent, deadline=20):
    await agent.start()
    return await agent.prompt(HELLO, deadline=deadline)


def gone(pid):
    """Whether a process has ended; one that is dead and not yet waited for counts."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"


# ---- the set-up


async def test_a_command_that_is_not_there(spawn, tmp_path):
    """A missing command is AgentNotInstalled with what to do, not an OSError."""
    preset = Preset(command=("no-such-agent-xyz", "acp"), install="run `npm install -g it`")
    with pytest.raises(
        AgentNotInstalled, match=r"'no-such-agent-xyz acp' is not there.*run `npm install -g it`"
    ) as error:
        await AcpAgent(spawn, preset, str(tmp_path)).start()
    assert error.value.code == "agent_not_installed"


async def test_a_shell_that_does_not_find_the_command(odd_agent):
    """Exit code 127 means the same as ENOENT."""
    agent, _ = odd_agent("exits-127")
    with pytest.raises(AgentNotInstalled, match="install the odd agent"):
        await agent.start()


async def test_an_agent_that_exits_at_once(odd_agent):
    """Its exit code and its last words are in the error."""
    agent, _ = odd_agent("exits-at-once")
    with pytest.raises(AgentDied, match="ended with exit code 1; its last words: no licence found") as error:
        await agent.start()
    assert (error.value.exit_code, error.value.stderr_tail.strip()) == (1, "no licence found")


async def test_an_agent_that_dies_in_the_middle_of_the_set_up(odd_agent):
    """After a good initialize too."""
    agent, _ = odd_agent("dies-in-session-new")
    with pytest.raises(AgentDied, match="exit code 3; it said nothing"):
        await agent.start()


async def test_a_program_that_is_no_agent(odd_agent):
    """One that never answers is given up after start_timeout, and not left running."""
    agent, _ = odd_agent("mute", start_timeout=0.5)
    with pytest.raises(AgentTimeout, match=r"did not answer 'initialize' within 0\.5 s"):
        await agent.start()
    with pytest.raises(RuntimeError, match="not started, or closed"):
        await agent.prompt(HELLO, deadline=1)


async def test_another_protocol_version(odd_agent):
    """An agent that answers with version 2 is refused with both numbers."""
    agent, _ = odd_agent("version-2")
    with pytest.raises(AgentProtocolError, match="it speaks protocol version 2, the factory speaks 1"):
        await agent.start()


async def test_an_answer_that_is_not_acp(odd_agent):
    """What cannot be read is named by field."""
    agent, _ = odd_agent("odd-version")
    with pytest.raises(AgentProtocolError, match="answer to initialize cannot be read: protocolVersion"):
        await agent.start()


async def test_an_agent_without_an_account(odd_agent):
    """ACP's auth_required is told apart, for a person can mend it."""
    agent, _ = odd_agent("needs-login")
    with pytest.raises(AgentNeedsLogin, match="give its key in its environment"):
        await agent.start()


async def test_the_session_mode(odd_agent):
    """The preset's mode is set; one that the agent does not have is an error with its reason."""
    agent, events = odd_agent("plain", session_mode="default")
    await agent.start()
    await agent.close()
    assert [event.text for event in events if isinstance(event, Stderr)] == ["mode default"]
    agent, _ = odd_agent("plain", session_mode="no-such-mode")
    with pytest.raises(AgentRefused, match=r"session/set_mode no-such-mode.*no such mode"):
        await agent.start()


async def test_what_is_offered_to_the_agent(odd_agent):
    """Neither files nor a terminal are advertised."""
    agent, events = odd_agent("reports-capabilities")
    await agent.start()
    await agent.close()
    params = json.loads("".join(event.text for event in events if isinstance(event, Stderr)))
    assert params["clientInfo"]["name"] == "software-factory"
    offered = params.get("clientCapabilities", {})  # the SDK leaves out what is at its default
    assert not offered.get("terminal")
    assert not any(offered.get("fs", {}).values())


# ---- turns that look like success


@pytest.mark.parametrize(
    ("behaviour", "problem", "detail"),
    [
        ("silent-error", "model_error", "401 from the model"),
        ("system-error", "model_error", "systemError"),
        ("model-error", "model_error", "529 overloaded"),
        ("logged-out", "login_needed", "Authentication required"),
        ("max-tokens", "max_tokens", "tokens"),
        ("cancels-itself", "cancelled", "nobody here had asked"),
        ("gives-up-when-denied", "permission_denied", "Push"),
        ("odd-stop-reason", "protocol", "stopReason"),
    ],
)
async def test_a_turn_that_counts_as_a_failure(odd_agent, behaviour, problem, detail):
    """Whatever the agent calls it, the turn has a problem with a name and words for people."""
    agent, _ = odd_agent(behaviour)
    turn = await turn_of(agent)
    assert turn.problem == problem
    assert detail in turn.detail


async def test_a_model_that_is_tried_again(odd_agent):
    """codex-acp's `willRetry` is a warning: the turn is good."""
    agent, _ = odd_agent("retry-warning")
    turn = await turn_of(agent)
    assert (turn.stop_reason, turn.problem) == ("end_turn", None)


async def test_updates_that_nobody_knows(odd_agent):
    """An unknown or broken update costs itself only; what comes after is heard."""
    agent, events = odd_agent("odd-updates")
    turn = await turn_of(agent)
    assert (turn.problem, turn.message, turn.tool_calls) == (None, "still here", 1)
    assert [(event.title, event.kind) for event in events if isinstance(event, ToolCall)] == [("Look", "ponder")]


async def test_an_agent_that_prints_to_stdout(odd_agent):
    """Lines that are no message are kept as stderr, and the turn goes on."""
    agent, events = odd_agent("noisy-stdout")
    turn = await turn_of(agent)
    assert (turn.problem, turn.message) == (None, "hello")
    assert [event.text for event in events if isinstance(event, Stderr)] == ["npm warn: this is no JSON\n", "[1, 2]\n"]


async def test_files_and_terminals_are_refused(odd_agent):
    """What was not offered is answered with -32601 and harms nothing."""
    agent, _ = odd_agent("asks-for-files")
    turn = await turn_of(agent)
    assert turn.message.splitlines() == [
        "fs/write_text_file -32601",
        "fs/read_text_file -32601",
        "terminal/create -32601",
    ]
    assert turn.problem is None


async def test_a_permission_without_a_yes(odd_agent):
    """Where the agent offers no option that allows, it is denied, recorded, and the turn fails."""
    agent, events = odd_agent("odd-options")
    turn = await turn_of(agent)
    assert (turn.problem, turn.denied) == ("permission_denied", ["Format the disk"])
    assert json.loads(turn.message) == {"outcome": "cancelled"}
    [permission] = [event for event in events if isinstance(event, Permission)]
    assert (permission.outcome, permission.kind, permission.id) == ("denied", "execute", "t9")


async def test_usage_is_the_turns(odd_agent):
    """Tokens come from the answer, the context from the last update; the cost is the session's growth."""
    agent, _ = odd_agent("usage")
    first = await turn_of(agent)
    second = await agent.prompt(HELLO, deadline=20)
    assert first.usage and second.usage
    assert (first.usage.total_tokens, first.usage.input_tokens, first.usage.output_tokens) == (30, 20, 10)
    assert (first.usage.context_used, first.usage.context_size, first.usage.currency) == (1200, 8000, "USD")
    assert second.usage.cost == pytest.approx(0.25)  # 0.75 of the session, 0.5 before


# ---- turns that break off


async def test_a_child_that_holds_stdout(odd_agent):
    """An agent that is dead is dead, though a child of it keeps its output open; the child is ended."""
    agent, _ = odd_agent("child-holds-stdout")
    turn = await turn_of(agent, deadline=30)
    assert turn.problem == "agent_died"
    assert "exit code 7; its last words: the last words" in turn.detail
    assert turn.seconds < 20


async def test_after_its_death(odd_agent):
    """The next prompt says that the agent is gone."""
    agent, _ = odd_agent("child-holds-stdout")
    await turn_of(agent)
    with pytest.raises(AgentDied, match="exit code 7"):
        await agent.prompt(HELLO, deadline=5)


async def test_an_agent_that_closes_its_output(odd_agent):
    """It lives, but cannot be heard: the turn fails and it is killed."""
    agent, _ = odd_agent("closes-output")
    turn = await turn_of(agent)
    assert turn.problem == "agent_died"
    assert "closed its output" in turn.detail


async def test_a_line_over_the_limit(spawn, odd_agent):
    """A line that the sandbox does not pass on breaks the turn with its reason."""
    agent, _ = odd_agent("endless-line")
    await agent.start()
    agent._running.process.stdout._limit = 2**18  # what LINE is to a real agent
    turn = await agent.prompt(HELLO, deadline=30)
    assert turn.problem == "protocol"
    assert "longer than the sandbox passes on" in turn.detail


async def test_a_deaf_agent_is_killed(odd_agent):
    """An agent that does not heed session/cancel is dead `cancel_grace` seconds after its deadline."""
    agent, _ = odd_agent("deaf", cancel_grace=0.5)
    await agent.start()
    pid = agent._running.process.pid
    began = time.monotonic()
    turn = await agent.prompt(HELLO, deadline=0.3)
    assert (turn.problem, turn.stop_reason) == ("deadline", "")
    assert "not done after 0.3 s" in turn.detail
    assert time.monotonic() - began < 10
    assert gone(pid)


async def test_a_flood_on_stderr(odd_agent):
    """3 MB of noise do not stop the agent, and 8000 characters of it are kept."""
    agent, events = odd_agent("floods-stderr")
    turn = await turn_of(agent)
    assert turn.problem is None
    assert sum(len(event.text) for event in events if isinstance(event, Stderr)) == 3_000_007
    tail = await agent._running.stderr.text() if agent._running else ""
    assert len(tail) == TAIL
    assert tail.endswith("the end")


# ---- the caller's side


async def test_blocks(odd_agent):
    """Words and links pass as they are; a picture is named to an agent that takes none, and shown to one that does."""
    blocks = [Text("look"), Link("file:///x.md", "x.md"), Image("aGk=", "image/png", "error.png")]
    agent, _ = odd_agent("echoes")
    await agent.start()
    blind = json.loads((await agent.prompt(blocks, deadline=20)).message)
    assert [block["type"] for block in blind] == ["text", "resource_link", "text"]
    assert "error.png" in blind[2]["text"]
    agent, _ = odd_agent("takes-pictures")
    await agent.start()
    seen = json.loads((await agent.prompt(blocks, deadline=20)).message)
    assert seen[2] == {"type": "image", "data": "aGk=", "mimeType": "image/png"}


async def test_an_error_of_the_listener_comes_out(odd_agent, caplog):
    """What on_event raises is not swallowed: prompt raises it."""

    def full(event):
        if isinstance(event, Message):
            raise OSError("disk full")

    agent, _ = odd_agent("echoes", on_event=full)
    await agent.start()
    for _ in range(2):  # and it stays broken: what came after was not heard
        with pytest.raises(OSError, match="disk full"):
            await agent.prompt(HELLO, deadline=20)


async def test_close_ends_an_agent_in_a_turn(odd_agent):
    """Closing in the middle of a turn leaves no process and does not hang."""
    agent, _ = odd_agent("deaf")
    await agent.start()
    pid = agent._running.process.pid
    turn = asyncio.create_task(agent.prompt(HELLO, deadline=60))
    await asyncio.sleep(0.2)
    await agent.close()
    assert gone(pid)
    assert (await turn).problem == "cancelled"
    await agent.close()
