"""What lives on and what ends, when any of the processes around a sandbox is killed."""

import asyncio
import dataclasses
import json
import os
import signal
import time
from pathlib import Path

import pytest
from factory_sandbox.errors import Refused, SandboxLost
from factory_sandbox.processes import look, table

# A builder: it spawns what it is told to and is then killed by the test.
BUILDER = """
import asyncio, json, sys
from factory_sandbox.client import Sandbox
from factory_sandbox.handle import Handle
async def main():
    handle, key, argv, keep = json.loads(sys.argv[1])
    sandbox = Sandbox(Handle.from_dict(handle), bytes.fromhex(key), 1)
    process = await sandbox.spawn(argv, keep=keep)
    print(await process.stdout.readline(), flush=True)
    await asyncio.sleep(1000)
asyncio.run(main())
"""

# An envkeeper: it creates the sandbox of a spec and stays; `print` comes when it is made.
ENVKEEPER = """
import asyncio, json, sys
from pathlib import Path
import factory_sandbox
from factory_sandbox.local import Spec
async def main():
    said = json.loads(sys.argv[1])
    spec = Spec(**{**said, "node_dir": Path(said["node_dir"]), "checkout": Path(said["checkout"])})
    await factory_sandbox.provider("local").create(spec, 1)
    print("made", flush=True)
    await asyncio.sleep(1000)
asyncio.run(main())
"""


def builder(placed, another_process, argv, keep=False):
    return another_process(BUILDER, json.dumps([placed.handle.as_dict(), placed.key.hex(), argv, keep]))


def envkeeper(spec, another_process):
    return another_process(ENVKEEPER, json.dumps(dataclasses.asdict(spec), default=str))


async def test_a_killed_callers_spawn_dies_with_its_daemons(placed, daemon, another_process, until):
    """kill -9 of a builder ends its agent within 2 s, and the grandchildren that left for sessions of their own."""
    killed = builder(placed, another_process, [*daemon, "stay"])
    assert await asyncio.to_thread(killed.stdout.readline) == b"b'daemon up\\n'\n"
    pid = placed.number_in("daemon.pid")
    assert look(pid)
    os.kill(killed.pid, signal.SIGKILL)
    at = time.monotonic()
    await until(lambda: placed.inside() == [])
    assert time.monotonic() - at < 2
    assert look(pid) is None


async def test_a_killed_caller_whose_stdin_nobody_reads(placed, another_process, until):
    """The death of a caller is noticed even with megabytes of its stdin unread."""
    program = BUILDER.replace(
        "print(await process.stdout.readline(), flush=True)",
        "process.stdin.write(b'x' * 8_000_000); await asyncio.sleep(0.5); print('full', flush=True)",
    )
    killed = another_process(program, json.dumps([placed.handle.as_dict(), placed.key.hex(), ["sleep", "1000"], False]))
    assert await asyncio.to_thread(killed.stdout.readline) == b"full\n"
    assert placed.inside()
    os.kill(killed.pid, signal.SIGKILL)
    await until(lambda: placed.inside() == [], 2)


async def test_the_kept_supervisor_outlives_its_caller(placed, another_process):
    """What `keep` started goes on with all it started, after the process that asked for it was killed."""
    killed = builder(placed, another_process, ["factory", "supervise", "--port-range", "1"], keep=True)
    assert b"up" in await asyncio.to_thread(killed.stdout.readline)
    service = placed.number_in("supervisor.pids")
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    await asyncio.sleep(0.5)
    kept = (await placed.at(None).status())["kept"]
    assert kept["epoch"] == 1
    assert look(kept["pid"])
    assert look(service)


async def test_a_second_keep_finds_the_first(placed):
    """One supervisor at a time: the second caller is given the living one, and learns of its end."""
    first = await placed.at(1).spawn(["factory", "supervise"], keep=True)
    await first.stdout.readline()
    second = await placed.at(1).spawn(["factory", "supervise"], keep=True)
    assert second.pid == first.pid
    assert second.stdout is None
    await first.close()
    assert look(first.pid)
    os.kill(second.pid, signal.SIGKILL)
    assert await asyncio.wait_for(second.wait(), 5) == -9
    assert placed.inside() == []
    third = await placed.at(1).spawn(["factory", "supervise"], keep=True)
    assert third.pid != first.pid
    await third.kill()
    assert (await placed.at(None).status())["kept"] is None
    await second.close()
    await third.close()


async def test_two_keeps_at_the_same_time_start_one(placed):
    """Two callers that ask at once get the same supervisor."""
    one, two = await asyncio.gather(*(placed.at(1).spawn(["factory", "supervise"], keep=True) for _ in range(2)))
    assert one.pid == two.pid
    await one.close()
    await two.close()


async def test_nothing_else_is_kept(placed):
    """An agent's process cannot be made to outlive its builder."""
    for argv in (
        ["sleep", "1000"],
        ["factory", "start"],
        ["factory"],
        ["sh", "-c", "factory supervise"],
        ["./factory", "supervise"],
    ):
        with pytest.raises(Refused) as refused:
            await placed.at(1).spawn(argv, keep=True)
        assert refused.value.code == "not-kept", argv
    assert placed.inside() == []


async def test_a_kept_command_is_the_shim_whatever_path_says(placed):
    """A `factory` that an agent put somewhere is not what is kept, even where the call's PATH names it first."""
    trap = placed.checkout / "trap"
    trap.mkdir()
    (trap / "factory").write_text("#!/bin/sh\nsleep 999\n")
    (trap / "factory").chmod(0o755)
    process = await placed.at(1).spawn(["factory", "supervise"], keep=True, env={"PATH": f"{trap}:/usr/bin:/bin"})
    assert (await process.stdout.readline()).startswith(b"up")
    await process.close()


async def test_a_supervisor_that_prints_for_ever_is_not_stalled_by_a_gone_caller(placed, until):
    """Nobody reads a kept process once its caller left; its output is thrown away, and it does not block."""
    program = "while true; do head -c 100000 /dev/zero; printf . >> count; done"
    (placed.layout.bin / "factory").write_text(f"#!/bin/sh\n{program}\n")
    process = await placed.at(1).spawn(["factory", "supervise"], keep=True)
    await process.close()
    count = placed.checkout / "count"
    await until(lambda: count.exists() and count.stat().st_size > 100)


async def test_destroy_ends_the_kept_supervisor_and_all_spawns(placed):
    """After destroy no process of the placement is left, the server neither, and a caller is told."""
    kept = await placed.at(1).spawn(["factory", "supervise"], keep=True)
    await kept.stdout.readline()
    agent = await placed.at(1).spawn(["sleep", "1000"])
    server = await placed.server_pid()
    assert len(placed.inside()) == 3
    await placed.local.destroy(placed.handle)
    assert placed.inside() == []
    assert look(server) is None
    with pytest.raises(SandboxLost):
        await agent.wait()
    with pytest.raises(SandboxLost):
        await placed.at(None).status()
    assert not await placed.local.alive(placed.handle)
    await agent.close()
    await kept.close()


async def test_a_killed_server_takes_its_trees_along(placed, daemon, until):
    """kill -9 of the server: reapers see it and end spawns and supervisor by themselves."""
    kept = await placed.at(1).spawn(["factory", "supervise"], keep=True)
    await kept.stdout.readline()
    agent = await placed.at(1).spawn([*daemon, "stay"])
    await agent.stdout.readline()
    os.kill(await placed.server_pid(), signal.SIGKILL)
    await until(lambda: placed.inside() == [], 2)
    with pytest.raises(SandboxLost):
        await agent.wait()
    assert not await placed.local.alive(placed.handle)
    await agent.close()
    await kept.close()


async def test_a_killed_server_is_started_again(placed, spec):
    """create after kill -9 gives the same handle, a server that works, the checkout as it was, and the epoch kept."""
    await placed.at(5).write("notes.txt", b"kept")
    os.kill(await placed.server_pid(), signal.SIGKILL)
    handle = await placed.local.create(spec, 6)
    assert handle == placed.handle
    assert await placed.at(None).read("notes.txt") == b"kept"
    assert (await placed.at(6).exec(["echo", "again"])).stdout == b"again\n"


async def test_orphans_of_a_server_killed_with_its_reapers_are_ended(placed, spec, daemon, until):
    """Where server and reapers die in one blow, the successor finds the orphans by record and mark, before it serves."""
    kept = await placed.at(1).spawn(["factory", "supervise"], keep=True)
    await kept.stdout.readline()
    agent = await placed.at(1).spawn([*daemon, "stay"])
    await agent.stdout.readline()
    server = await placed.server_pid()
    reapers = [p.pid for p in table().values() if p.ppid == server]
    assert len(reapers) == 2
    for pid in (server, *reapers):
        os.kill(pid, signal.SIGSTOP)  # so that none of them sees the others die
    for pid in (*reapers, server):
        os.kill(pid, signal.SIGKILL)
    await until(lambda: look(server) is None)
    assert len(placed.inside()) == 4, "the supervisor, its service, the agent and its daemon are orphans now"
    await placed.local.create(spec, 2)
    assert placed.inside() == []
    assert (await placed.at(2).exec(["echo", "again"])).code == 0
    await agent.close()
    await kept.close()


async def test_an_orphan_without_the_mark_is_ended_by_record(placed, spec, until):
    """A command that cleared its environment is found by its number and birth, which the record holds."""
    agent = await placed.at(1).spawn(["env", "-i", "sleep", "1000"])
    await until(lambda: placed.inside() == [])
    server = await placed.server_pid()
    reaper = look(agent.pid).ppid
    for pid in (server, reaper):
        os.kill(pid, signal.SIGSTOP)
    for pid in (reaper, server):
        os.kill(pid, signal.SIGKILL)
    await until(lambda: look(server) is None)
    assert look(agent.pid)
    await placed.local.create(spec, 2)
    assert look(agent.pid) is None
    await agent.close()


async def test_a_process_with_a_reused_number_is_spared(placed, spec):
    """A pid in the record that now belongs to a younger process is nobody's to kill."""
    bystander = await asyncio.create_subprocess_exec("sleep", "1000")
    try:
        os.kill(await placed.server_pid(), signal.SIGKILL)
        record = json.loads(placed.layout.record.read_text())
        record["reapers"] = record["commands"] = [{"pid": bystander.pid, "birth": "1"}]
        record["server"] = {"pid": bystander.pid, "birth": "1"}
        placed.layout.record.write_text(json.dumps(record))
        await placed.local.create(spec, 2)
        assert bystander.returncode is None
        assert look(bystander.pid)
    finally:
        bystander.kill()
        await bystander.wait()


async def test_a_killed_reaper_leaves_nothing(placed, daemon, until):
    """kill -9 of a reaper: the server inherits its tree, ends it, and tells the caller."""
    async with await placed.at(1).spawn([*daemon, "stay"]) as agent:
        await agent.stdout.readline()
        server = await placed.server_pid()
        (reaper,) = [p.pid for p in table().values() if p.ppid == server]
        os.kill(reaper, signal.SIGKILL)
        assert await asyncio.wait_for(agent.wait(), 5) == -9
        assert placed.inside() == []
        assert not [p for p in table().values() if p.ppid == server]


async def test_a_stopped_reaper_does_not_save_its_tree(placed, daemon):
    """An agent that stops its reaper with SIGSTOP is killed all the same."""
    async with await placed.at(1).spawn([*daemon, "stay"]) as agent:
        await agent.stdout.readline()
        server = await placed.server_pid()
        (reaper,) = [p.pid for p in table().values() if p.ppid == server]
        os.kill(reaper, signal.SIGSTOP)
        await agent.kill()
        assert placed.inside() == []


async def test_a_chain_that_forks_faster_than_one_looks_is_caught(placed, until):
    """A process that forks and exits without pause, so that it never has the same number twice, is ended."""
    comet = "import os\nopen('lit', 'w').close()\nwhile True:\n    if os.fork():\n        os._exit(0)\n"
    comets = [await placed.at(1).spawn(["python3", "-I", "-S", "-c", comet], pipe=False) for _ in range(3)]
    await until((placed.checkout / "lit").exists)
    for process in comets:
        assert await asyncio.wait_for(process.wait(), 10) == 0
        await process.close()
    assert placed.inside() == []


async def test_a_hung_server_is_replaced(placed, spec, monkeypatch):
    """A server that does not answer is ended with all it had, and another takes its place."""
    monkeypatch.setattr("factory_sandbox.local._LOOK_TIME", 1.0)
    agent = await placed.at(1).spawn(["sleep", "1000"])
    server = await placed.server_pid()
    os.kill(server, signal.SIGSTOP)
    assert not await placed.local.alive(placed.handle)
    await placed.local.create(spec, 2)
    assert look(server) is None
    assert look(agent.pid) is None
    assert (await placed.at(2).exec(["true"])).code == 0
    await agent.close()


async def test_sigterm_ends_a_server_in_good_order(placed, until):
    """SIGTERM: everything inside ends, then the server."""
    kept = await placed.at(1).spawn(["factory", "supervise"], keep=True)
    await kept.stdout.readline()
    server = await placed.server_pid()
    os.kill(server, signal.SIGTERM)
    await until(lambda: look(server) is None)
    assert placed.inside() == []
    await kept.close()


async def test_an_envkeeper_that_died_finds_its_sandbox_again(spec, another_process, placed):
    """kill -9 of envkeeper and its group: server and supervisor live on, and create by its successor finds them."""
    os.kill(await placed.server_pid(), signal.SIGKILL)
    first = envkeeper(spec, another_process)
    assert await asyncio.to_thread(first.stdout.readline) == b"made\n"
    kept = await placed.at(1).spawn(["factory", "supervise"], keep=True)
    await kept.close()
    server = await placed.server_pid()
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    await asyncio.sleep(0.3)
    again = await placed.local.create(spec, 2)
    assert again == placed.handle
    assert await placed.server_pid() == server
    assert look(kept.pid)


async def test_an_envkeeper_killed_at_any_moment_of_create(spec, another_process, placed):
    """Whenever envkeeper is killed while it creates, its successor's create works and destroy leaves nothing."""
    await placed.local.destroy(placed.handle)
    spec.checkout.mkdir(parents=True)
    for delay in (0.12, 0.16, 0.2, 0.24, 0.3):
        killed = envkeeper(spec, another_process)
        await asyncio.sleep(delay)
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait()
    await placed.local.create(spec, 2)
    assert (await placed.at(2).exec(["true"])).code == 0


async def test_two_creates_at_once_make_one_server(placed, spec):
    """Two envkeepers that create the same placement at once agree on one server."""
    name = f"jtwo{os.getpid()}"  # one that no other test on this machine uses: servers are counted by it
    spec = dataclasses.replace(spec, job_id=name)
    one, two = await asyncio.gather(placed.local.create(spec, 1), placed.local.create(spec, 1))
    assert one == two
    servers = [p for p in table().values() if f"{name}-1" in _command_line(p.pid)]
    await placed.local.destroy(one)
    assert len(servers) == 1


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""
