"""Who may call: what a server does with hellos that are forged, broken or late."""

import asyncio
import json
import os
import stat
import sys

import pytest
from factory_sandbox import credentials
from factory_sandbox.client import Sandbox, node_key
from factory_sandbox.errors import Refused, SandboxError
from factory_sandbox.frames import Kind, Wire
from factory_sandbox.handle import Handle
from factory_sandbox.processes import LINUX


async def raw(shared) -> Wire:
    return Wire(*await asyncio.open_unix_connection(shared.handle.socket))


async def said_back(wire: Wire) -> tuple[Kind, dict]:
    frame = await asyncio.wait_for(wire.receive(), 5)
    wire.close()
    return (frame[0], json.loads(frame[1]))


async def test_a_forged_hello_is_refused_and_changes_nothing(shared):
    """A process that lacks the node's key cannot take the job with a huge epoch, nor even look."""
    agent = await shared.at(1).spawn(["sleep", "1000"])
    forger = Sandbox(shared.handle, b"f" * 32, 10**9)
    for call in (forger.take(), forger.exec(["true"]), forger.destroy(), forger.status(), forger.read("a")):
        with pytest.raises(Refused) as refused:
            await call
        assert refused.value.code == "bad-hello"
    assert (await shared.at(None).status())["epoch"] == 1
    assert shared.inside() == [agent.pid]
    await agent.close()


async def test_a_code_is_good_for_its_epoch_and_placement_only(shared):
    """What was signed for one epoch, job or placement does not open another."""
    key = credentials.placement_key(shared.key, shared.handle.job_id, 1)
    other = credentials.placement_key(shared.key, shared.handle.job_id, 2)
    for signed in (credentials.sign(key, 1), credentials.sign(key, None), credentials.sign(other, 2), "", "ü"):
        wire = await raw(shared)
        hello = {"v": 1, "verb": "status", "job": shared.handle.job_id, "placement": 1, "epoch": 2, "mac": signed}
        wire.put_json(Kind.HELLO, {**hello, "args": {}})
        kind, answer = await said_back(wire)
        assert (kind, answer["code"]) == (Kind.ERROR, "bad-hello")
    assert (await shared.at(None).status())["epoch"] == 1


GARBAGE = [
    (b"GET / HTTP/1.1\r\n\r\n", "bad-frame"),
    (b"\xff\xff\xff\xff", "bad-frame"),
    (b"\0\0\0\0", "bad-frame"),
    (b"\0\0\0\x01\xee", "bad-frame"),
    (b"\0\0\0\x03\x01{]", "bad-frame"),
    (b"\0\0\0\x03\x01[]", "bad-frame"),
    (b"\0\0\0\x03\x01{}", "bad-hello"),
    (b"\0\0\0\x01\x08", "bad-hello"),
]


async def test_what_is_no_hello_is_answered_with_why(shared):
    """Garbage on the socket gets an error with a code, and the server goes on."""
    for sent, code in GARBAGE:
        wire = await raw(shared)
        wire.writer.write(sent)
        kind, answer = await said_back(wire)
        assert (kind, answer["code"]) == (Kind.ERROR, code), sent
    assert (await shared.at(1).exec(["true"])).code == 0


async def test_an_unknown_verb_is_refused(shared):
    """A caller of a later version learns that the verb is not there."""
    with pytest.raises(Refused) as refused:
        await (shared.at(None))._open("teleport", {})
    assert refused.value.code == "no-such-verb"


async def test_arguments_that_are_none_are_refused(shared):
    """Wrong types in a call are the caller's error, not a failure of the server."""
    sandbox = shared.at(1)
    for verb, args in (
        ("exec", {"argv": "ls"}),
        ("exec", {"argv": ["ls", 1]}),
        ("exec", {"argv": ["a\0b"]}),
        ("exec", {"argv": ["ls"], "env": {"A": 1}}),
        ("exec", {"argv": ["ls"], "timeout": "1"}),
        ("read", {"path": "a", "offset": -1}),
        ("connect", {"port": "80"}),
        ("connect", {"port": 70000}),
        ("write", {"path": "a", "mode": 0o4755}),
    ):
        with pytest.raises(Refused) as refused:
            await sandbox._open(verb, args, acting=True)
        assert refused.value.code == "bad-arguments", verb


async def test_a_caller_that_leaves_at_once_leaves_no_trace(shared):
    """Connections that close before, in or after a hello do no harm."""
    for part in (b"", b"\0\0", b"\0\0\0\x20\x01half"):
        wire = await raw(shared)
        wire.writer.write(part)
        wire.writer.transport.abort()
    assert (await shared.at(None).status())["spawns"] == []


def test_the_nodes_key_is_made_once_and_is_private(node_dir):
    """The first caller makes the key, mode 0600; later ones read the same; a broken one is named."""
    key = node_key(node_dir)
    assert len(key) == 32
    assert node_key(node_dir) == key
    assert stat.S_IMODE((node_dir / "key").stat().st_mode) == 0o600
    assert [path.name for path in node_dir.iterdir()] == ["key"]
    (node_dir / "key").write_bytes(b"short")
    with pytest.raises(SandboxError) as broken:
        node_key(node_dir)
    assert broken.value.code == "bad-node-key"


async def test_the_socket_is_private(shared):
    """Only the factory's own user reaches the socket, and the directory that holds it."""
    assert stat.S_IMODE(shared.layout.socket.stat().st_mode) == 0o600
    assert stat.S_IMODE(shared.layout.run.stat().st_mode) == 0o700


@pytest.mark.skipif(not LINUX, reason="looks into /proc")
async def test_no_key_lies_open(shared):
    """Neither the node's key nor the placement's is in the argv, the environment or a file of server and children."""
    node, placement = shared.key, credentials.placement_key(shared.key, shared.handle.job_id, 1)
    seen = (await shared.at(1).exec(["sh", "-c", "cat /proc/*/cmdline /proc/*/environ 2>/dev/null; env"])).stdout
    files = b"".join(path.read_bytes() for path in shared.layout.run.iterdir() if path.is_file())
    for secret in (node.hex().encode(), node, placement.hex().encode(), placement):
        assert secret not in seen
        assert secret not in files


@pytest.mark.skipif(not LINUX or os.getuid() != 0, reason="becomes another user")
async def test_a_servers_memory_is_closed_to_its_own_user():
    """After hide_memory a process of the same user cannot attach: its /proc files belong to root."""
    program = (
        "import os, time\nfrom factory_sandbox.processes import hide_memory\n"
        "os.setuid(65534)\nbefore = os.stat('/proc/self/mem').st_uid\nhide_memory()\n"
        "print(before, os.stat('/proc/self/mem').st_uid)"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert out.split()[1] == b"0"


def test_a_handle_is_data(shared):
    """A handle goes through JSON unharmed; what is no handle is refused."""
    assert Handle.from_dict(json.loads(json.dumps(shared.handle.as_dict()))) == shared.handle
    for wrong in ({}, {**shared.handle.as_dict(), "more": 1}):
        with pytest.raises(Refused) as refused:
            Handle.from_dict(wrong)
        assert refused.value.code == "bad-handle"
    with pytest.raises(Refused):
        Handle.from_dict({**shared.handle.as_dict(), "job_id": "../../etc"})
