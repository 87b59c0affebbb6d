"""What `exec` and `spawn` promise to whoever calls them."""

import asyncio
import os
import signal
import sys
import time

import pytest
from factory_sandbox.errors import Refused
from factory_sandbox.processes import look


async def test_exec_gives_code_and_both_streams(shared):
    """A command's exit code, stdout and stderr come back, and stdin reaches it."""
    done = await shared.at(1).exec(["sh", "-c", "cat; echo wrong >&2; exit 3"], stdin=b"hello")
    assert (done.code, done.stdout, done.stderr, done.timed_out, done.truncated) == (
        3,
        b"hello",
        b"wrong\n",
        False,
        False,
    )


async def test_exec_runs_in_the_checkout_or_below(shared):
    """cwd is the checkout, or a directory relative to it."""
    (shared.checkout / "web").mkdir()
    where = await shared.at(1).exec(["pwd"])
    below = await shared.at(1).exec(["pwd"], cwd="web")
    assert where.stdout.decode().strip() == str(shared.checkout)
    assert below.stdout.decode().strip() == str(shared.checkout / "web")


UNRUNNABLE = [
    (["no-such-program-anywhere"], {}, "no-such-command"),
    (["true"], {"cwd": "nowhere"}, "no-such-directory"),
    (["true"], {"cwd": "../.."}, "bad-path"),
    (["true"], {"cwd": "/"}, "bad-path"),
    (["./data"], {}, "cannot-start"),
    ([], {}, "bad-arguments"),
    (["true"], {"env": {"FACTORY_TELEGRAM_TOKEN": "x"}}, "secret-in-environment"),
    (["echo", "x" * 300_000], {}, "frame-too-long"),
]


async def test_what_cannot_be_run_is_refused_by_name(shared):
    """A command that cannot start is an error with a code, not an exit code that looks like the command's own."""
    (shared.checkout / "data").write_text("not executable")
    for argv, more, code in UNRUNNABLE:
        with pytest.raises(Refused) as refused:
            await shared.at(1).exec(argv, **more)
        assert refused.value.code == code, argv
    assert shared.inside() == []


async def test_the_environment_inside_is_clean(placed, spec, monkeypatch):
    """Children see the allow-list, the spec's variables and the call's; nothing else that the factory runs with."""
    monkeypatch.setenv("FACTORY_TELEGRAM_TOKEN", "secret")
    await placed.local.destroy(placed.handle)
    spec.checkout.mkdir(parents=True)
    await placed.local.create(spec, 1)
    done = await placed.at(1).exec(["env", "-0"], env={"ROUND": "2", "FACTORY_INSIDE": "1"})
    seen = dict(pair.split("=", 1) for pair in done.stdout.decode().split("\0") if pair)
    assert set(seen) == {
        "PATH",
        "HOME",
        "TMPDIR",
        "LANG",
        "TERM",
        "USER",
        "SANDBOX_PLACE",
        "CACHE_DIR",
        "ROUND",
        "FACTORY_INSIDE",
    }
    assert seen["CACHE_DIR"] == "/somewhere"
    assert seen["HOME"] == str(placed.layout.home)
    assert seen["TMPDIR"] == str(placed.layout.tmp)
    assert seen["PATH"].split(os.pathsep)[0] == str(placed.layout.bin)


@pytest.mark.skipif(sys.prefix == sys.base_prefix, reason="runs outside a virtual environment")
async def test_the_python_on_path_is_not_ours(shared):
    """The app's `python3` is the machine's, though the factory's virtual environment comes first on its own PATH."""
    done = await shared.at(1).exec(["sh", "-c", "command -v python3; command -v factory"])
    python, factory = done.stdout.decode().split()
    assert not python.startswith(sys.prefix)
    assert sys.prefix not in (await shared.at(1).exec(["env"])).stdout.decode()
    assert factory == str(shared.layout.bin / "factory")


async def test_a_command_inherits_nothing_but_its_three_streams(shared):
    """No socket, lock or pipe of the server is open in a child."""
    done = await shared.at(1).exec(["sh", "-c", "ls /proc/$$/fd"])
    assert done.stdout.split() == [b"0", b"1", b"2"]


async def test_signals_are_reset_for_a_command(placed, spec):
    """A factory that was started with SIGHUP ignored (nohup) or signals blocked does not hand that on."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        os.kill(await placed.server_pid(), signal.SIGKILL)
        await placed.local.create(spec, 1)
    finally:
        signal.signal(signal.SIGHUP, before)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    done = await placed.at(1).exec(["grep", "-E", "SigIgn|SigBlk", "/proc/self/status"])
    libcs_own = 0b11 << 31  # 32 and 33: nobody can set them, and threads of some programs have them ignored
    assert {int(line.split()[1], 16) & ~libcs_own for line in done.stdout.splitlines()} == {0}


async def test_a_timeout_ends_all_of_it(shared, daemon):
    """After the timeout nothing of the command is left, and the result says so."""
    before = time.monotonic()
    done = await shared.at(1).exec([*daemon, "stay"], timeout=1.0)
    assert (done.timed_out, done.code) == (True, -9)
    assert time.monotonic() - before < 5
    assert look(shared.number_in("daemon.pid")) is None


async def test_a_daemon_that_holds_stdout_does_not_hang_exec(shared, daemon):
    """exec ends when its command does, keeps what was printed, and the daemon is gone when it returns."""
    before = time.monotonic()
    done = await shared.at(1).exec([*daemon, "end"])
    assert (done.code, done.stdout) == (0, b"daemon up\n")
    assert time.monotonic() - before < 5
    assert look(shared.number_in("daemon.pid")) is None


async def test_output_after_the_commands_end_is_kept_for_a_moment(shared):
    """What a child of the command prints shortly after its parent ended belongs to the output."""
    done = await shared.at(1).exec(["sh", "-c", "(sleep 0.3; echo late) & echo early"])
    assert done.stdout == b"early\nlate\n"


async def test_the_end_of_long_output_is_kept(shared):
    """max_output bounds what is held, not what the command may print; callbacks see all of it."""
    seen = {"stdout": 0, "stderr": 0}

    def count(name: str, piece: bytes) -> None:
        seen[name] += len(piece)

    done = await shared.at(1).exec(
        ["sh", "-c", "head -c 3000000 /dev/zero; echo the end"], max_output=1000, on_output=count
    )
    assert done.truncated
    assert len(done.stdout) == 1000
    assert done.stdout.endswith(b"the end\n")
    assert seen == {"stdout": 3_000_008, "stderr": 0}


async def test_stdin_longer_than_every_buffer(shared):
    """Stdin of many windows arrives whole, also while the output is as long."""
    data = os.urandom(5_000_000)
    done = await shared.at(1).exec(["cat"], stdin=data, max_output=len(data))
    assert done.stdout == data


async def test_stdin_that_nobody_reads_does_not_hang(shared):
    """A command may end without reading what it was given."""
    done = await shared.at(1).exec(["true"], stdin=b"x" * 5_000_000)
    assert done.code == 0


async def test_cancelling_exec_ends_the_command(shared, daemon, until):
    """When a cancelled exec has raised, all of its command is gone."""
    running = asyncio.create_task(shared.at(1).exec([*daemon, "stay"]))
    await until((shared.checkout / "daemon.pid").exists)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert shared.inside() == []


async def test_a_callback_that_fails_ends_the_command(shared):
    """An error of the caller's own is raised to it, and nothing runs on."""

    def fail(_name: str, _piece: bytes) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await shared.at(1).exec(["sh", "-c", "echo go; sleep 1000"], on_output=fail)
    assert shared.inside() == []


async def test_a_spawn_is_talked_to_while_it_runs(shared):
    """Lines go to and fro; the exit code comes by wait."""
    async with await shared.at(1).spawn(["sh", "-c", "while read line; do echo got $line; done; exit 7"]) as process:
        assert look(process.pid)
        for word in (b"one", b"two"):
            process.stdin.write(word + b"\n")
            await process.stdin.drain()
            assert await process.stdout.readline() == b"got " + word + b"\n"
        process.stdin.close()
        assert await process.wait() == 7


async def test_a_spawns_line_may_be_long(shared):
    """A line of 20 MB, as an agent sends a picture, comes in one piece."""
    async with await shared.at(1).spawn(["sh", "-c", "head -c 20000000 /dev/zero | tr '\\0' a; echo"]) as process:
        assert len(await process.stdout.readline()) == 20_000_001
        assert await process.wait() == 0


async def test_a_spawn_without_pipes(shared):
    """pipe=False gives no streams, and the command reads and writes /dev/null."""
    async with await shared.at(1).spawn(["sh", "-c", "cat; echo nobody hears; exit 5"], pipe=False) as process:
        assert (process.stdin, process.stdout, process.stderr) == (None, None, None)
        assert await process.wait() == 5


async def test_kill_works_when_the_command_reads_nothing(shared):
    """A command that leaves its stdin unread, with megabytes waiting, is killed all the same."""
    for _ in range(12):
        async with await shared.at(1).spawn(["sleep", "1000"]) as process:
            process.stdin.write(b"x" * 8_000_000)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(process.stdin.drain(), 0.05)
            await asyncio.wait_for(process.kill(), 5)
            assert await process.wait() == -9
            assert look(process.pid) is None


async def test_nothing_stays_open_in_the_server(shared):
    """After calls of every kind, those that fail or are cut off too, the server has what it had before."""
    sandbox = shared.at(1)
    before = await shared.open_in_server()
    await sandbox.exec(["true"])
    for refused in (["no-such-program"], ["./nothing"]):
        with pytest.raises(Refused):
            await sandbox.exec(refused)
    (await sandbox.spawn(["sleep", "1000"]))._call.close()
    running = asyncio.create_task(sandbox.exec(["sleep", "1000"], stdin=b"x" * 4_000_000))
    await asyncio.sleep(0.2)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await sandbox.write("a", b"x" * 1_000_000)
    async for _ in sandbox.read_chunks("a"):
        break
    with pytest.raises(Refused):
        await sandbox.write("a/b", b"")
    give_up = time.monotonic() + 10
    while await shared.open_in_server() != before and time.monotonic() < give_up:
        await asyncio.sleep(0.05)
    assert await shared.open_in_server() == before


async def test_many_at_once(shared):
    """Twenty commands at once do not mix their output."""
    done = await asyncio.gather(*(shared.at(1).exec(["sh", "-c", f"echo {n}; sleep 0.1; echo {n}"]) for n in range(20)))
    assert [d.stdout.split() for d in done] == [[b"%d" % n] * 2 for n in range(20)]
    assert (await shared.at(None).status())["spawns"] == []
