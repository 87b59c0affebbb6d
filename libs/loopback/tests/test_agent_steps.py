"""What the scripted agent does to a checkout, and that a client of the SDK understands it."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import acp
import pytest
from acp.schema import AllowedOutcome, RequestPermissionResponse
from factory_loopback.agent.script import AppendForever, Replace, Run, Sleep, Write
from factory_loopback.agent.steps import Checkout, StepFailed


@pytest.fixture
def checkout(tmp_path):
    directory = tmp_path / "checkout"
    directory.mkdir()

    async def never(title: str) -> bool:
        raise AssertionError(f"asked for {title}")

    return Checkout(directory, never)


async def cancelled_after(seconds: float, action) -> float:
    """Cancels an action after some seconds; how long it then took to end."""
    task = asyncio.create_task(action)
    await asyncio.sleep(seconds)
    began = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return time.monotonic() - began


async def test_line_ends_are_kept(checkout, tmp_path):
    """A replace touches nothing but what it replaces."""
    file = tmp_path / "checkout/a.txt"
    file.write_bytes(b"one\r\ntwo\r\n")
    await checkout.perform(Replace("a.txt", "two", "zwei"))
    assert file.read_bytes() == b"one\r\nzwei\r\n"


@pytest.mark.parametrize(
    ("step", "says"),
    [
        (Replace("none.txt", "a", "b"), "No such file"),
        (Replace("picture.png", "a", "b"), "can't decode"),
        (Replace("a.txt", "missing", "b"), "0 times, not once: 'missing'"),
        (Write("way-out/x", ""), "way-out/x leads out of the checkout"),
        (Write("a.txt/x", ""), "exist|Not a directory"),
        (AppendForever("way-out/x.log", 10, child=True), "leads out of the checkout"),
    ],
)
async def test_a_step_that_cannot_be_done(checkout, tmp_path, step, says):
    """Its reason is told; nothing is touched outside the checkout, through a link neither."""
    (tmp_path / "checkout/picture.png").write_bytes(b"\x89PNG")
    (tmp_path / "checkout/a.txt").write_text("text")
    (tmp_path / "checkout/way-out").symlink_to(tmp_path)
    with pytest.raises(StepFailed, match=says):
        await checkout.perform(step)
    assert [path.name for path in tmp_path.iterdir()] == ["checkout"]


async def test_a_command_shows_its_output_and_exit_code(checkout):
    """Both streams are shown; a failure that is allowed is no failure of the step."""
    done = await checkout.perform(Run("pwd; echo oops >&2; exit 3", allow_failure=True))
    assert done.exit_code == 3
    assert done.content[0].content.text.splitlines()[1:] == ["oops"]
    with pytest.raises(StepFailed, match="`echo no; false` ended with exit code 1") as failed:
        await checkout.perform(Run("echo no; false", allow_failure=False))
    assert (failed.value.output, failed.value.exit_code) == ("no\n", 1)


async def test_a_command_that_leaves_a_daemon(checkout, tmp_path):
    """A daemon that holds the output does not hold the step."""
    began = time.monotonic()
    done = await checkout.perform(Run("sleep 15 & echo $! > pid; echo done", allow_failure=False))
    assert time.monotonic() - began < 10
    assert done.content[0].content.text == "done\n"
    os.kill(int((tmp_path / "checkout/pid").read_text()), signal.SIGKILL)


async def test_cancel_ends_a_command_and_its_children(checkout, tmp_path):
    """The whole process group is gone when the cancellation comes out."""
    took = await cancelled_after(0.5, checkout.perform(Run("sleep 61 & echo $! > pid; wait", allow_failure=False)))
    assert took < 1  # 0.2 s is the promise
    pid = (tmp_path / "checkout/pid").read_text().strip()
    stat = Path(f"/proc/{pid}/stat")
    assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


async def test_cancel_of_a_sleep(checkout):
    """A step that only waits ends at once."""
    assert await cancelled_after(0.05, checkout.perform(Sleep(60))) < 1


class Client:
    """A client as the SDK wants one: it says yes, and keeps what it hears."""

    def __init__(self) -> None:
        self.updates = []
        self.asked = []

    async def session_update(self, session_id, update, **_):
        self.updates.append(update)

    async def request_permission(self, session_id, tool_call, options, **_):
        self.asked.append((tool_call.title, [option.kind for option in options]))
        return RequestPermissionResponse(outcome=AllowedOutcome(outcome="selected", option_id=options[0].option_id))


@pytest.fixture
async def connect(tmp_path):
    """Starts the program with a script; a connection, its client, its process."""
    open_ = []

    async def start(script: str):
        file = tmp_path / "script.yaml"
        file.write_text(script)
        client = Client()
        context = acp.spawn_agent_process(
            client, sys.executable, "-P", "-m", "factory_loopback.agent", str(file), transport_kwargs={"stderr": None}
        )
        connection, process = await context.__aenter__()
        open_.append(context)
        await connection.initialize(protocol_version=acp.PROTOCOL_VERSION)
        return connection, client, process

    yield start
    for context in open_:
        await context.__aexit__(None, None, None)


async def test_the_sdk_understands_it(connect, tmp_path):
    """Every update passes the SDK's validation; an edit carries its diff, a permission its options."""
    connection, client, _ = await connect(
        "rounds: [{plan: [look], say: Hello., do: [{write: {path: a, text: b}}, {ask_permission: go on}]}]"
    )
    session = await connection.new_session(cwd=str(tmp_path))
    answer = await connection.prompt(session_id=session.session_id, prompt=[acp.text_block("Round 1 of 1")])
    assert answer.stop_reason == "end_turn"
    assert [update.session_update for update in client.updates] == [
        "plan",
        "agent_message_chunk",
        *["tool_call", "tool_call_update"] * 2,
        "plan",
    ]
    [diff] = client.updates[3].content
    assert (diff.path, diff.old_text, diff.new_text) == (str(tmp_path / "a"), None, "b")
    assert client.asked == [("go on", ["allow_once", "allow_always", "reject_once"])]


@pytest.mark.parametrize(
    ("prompt", "says"),
    [
        ("Do something.", "I was not told which round this is"),
        ("Round 4 of 5", "My script has 1 rounds, and this is round 4."),
        ("Round 1 of 5", r"nothing matches /c1/, /c2$/."),
    ],
)
async def test_refusals(connect, tmp_path, prompt, says):
    """A prompt that does not say what it must is refused, with what is missing."""
    connection, client, _ = await connect("rounds: [expect: [c1, 'c2$', Round 1]]")
    session = await connection.new_session(cwd=str(tmp_path))
    answer = await connection.prompt(session_id=session.session_id, prompt=[acp.text_block(prompt)])
    assert answer.stop_reason == "refusal"
    assert says in client.updates[-1].content.text


async def test_bad_calls(connect, tmp_path):
    """A directory that is not there and a session that is not known are errors that say so."""
    connection, _, _ = await connect("rounds: [say: hello]")
    with pytest.raises(acp.RequestError, match="Invalid params") as error:
        await connection.new_session(cwd=str(tmp_path / "none"))
    assert "absolute path of a directory" in error.value.data["details"]
    with pytest.raises(acp.RequestError) as error:
        await connection.prompt(session_id="s9", prompt=[acp.text_block("Round 1 of 1")])
    assert error.value.data["details"] == "there is no session s9"


async def test_it_ends_with_its_client(connect, tmp_path):
    """When stdin closes in the middle of a turn, the program and its children end."""
    connection, _, process = await connect("rounds: [do: [run: 'echo $$ > pid; exec sleep 62']]")
    session = await connection.new_session(cwd=str(tmp_path))
    turn = asyncio.create_task(
        connection.prompt(session_id=session.session_id, prompt=[acp.text_block("Round 1 of 1")])
    )
    async with asyncio.timeout(20):
        while not (tmp_path / "pid").exists():
            await asyncio.sleep(0.02)
    process.stdin.close()
    assert await asyncio.wait_for(process.wait(), 20) == 0
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()
    with pytest.raises(ConnectionError):
        await turn
