"""Which lease epoch is in force, and what a higher one does to a lower."""

import asyncio
import os
import signal

import pytest
from factory_sandbox.errors import Fenced, Refused
from factory_sandbox.processes import look


async def test_a_lower_epoch_is_refused_while_a_look_works(placed):
    """Everything that acts is refused to a holder whose epoch is over; looking needs no lease."""
    await placed.at(3).write("a.txt", b"by 3")
    old = placed.at(2)
    for act in (
        old.exec(["true"]),
        old.spawn(["true"]),
        old.spawn(["factory", "supervise"], keep=True),
        old.write("a.txt", b"by 2"),
        old.destroy(),
        old.take(),
    ):
        with pytest.raises(Fenced):
            await act
    assert await old.read("a.txt") == b"by 3"
    assert (await old.status())["epoch"] == 3
    assert await placed.at(None).read("a.txt") == b"by 3"


async def test_without_an_epoch_one_only_looks(placed):
    """A caller without a lease is told that it needs one."""
    looking = placed.at(None)
    for act in (looking.exec(["true"]), looking.spawn(["true"]), looking.write("a", b""), looking.destroy()):
        with pytest.raises(Refused) as refused:
            await act
        assert refused.value.code == "no-epoch"


async def test_the_old_agent_is_gone_before_the_new_ones_first_write(placed, daemon):
    """A higher epoch ends what lower ones spawned, daemons too, before its own call is served."""
    old = await placed.at(1).spawn([*daemon, "stay"])
    await old.stdout.readline()
    beats = placed.checkout / "beats"
    assert beats.stat().st_size > 0
    assert await placed.at(2).write("mine.txt", b"by 2") == 4
    size = beats.stat().st_size
    assert look(placed.number_in("daemon.pid")) is None
    await asyncio.sleep(0.2)
    assert beats.stat().st_size == size
    with pytest.raises(Fenced):
        await old.wait()
    await old.close()


async def test_a_running_exec_is_told_that_it_is_fenced(placed, until):
    """A holder in the middle of a command gets Fenced, not a strange exit code."""
    running = asyncio.create_task(placed.at(1).exec(["sh", "-c", "touch begun; sleep 1000"]))
    await until((placed.checkout / "begun").exists)
    await placed.at(2).take()
    with pytest.raises(Fenced):
        await running


async def test_equal_epochs_do_not_disturb_one_another(placed):
    """Two calls of one holder run side by side."""
    async with await placed.at(2).spawn(["cat"]) as first:
        assert (await placed.at(2).exec(["echo", "x"])).stdout == b"x\n"
        first.stdin.write(b"still here\n")
        assert await first.stdout.readline() == b"still here\n"


async def test_the_supervisor_lives_through_a_new_epoch(placed):
    """The app goes on when another builder claims the job; the earlier caller of keep is let go."""
    kept = await placed.at(1).spawn(["factory", "supervise"], keep=True)
    await kept.stdout.readline()
    await placed.at(2).take()
    with pytest.raises(Fenced):
        await kept.wait()
    assert look(kept.pid)
    again = await placed.at(2).spawn(["factory", "supervise"], keep=True)
    assert again.pid == kept.pid
    await again.close()
    await kept.close()


async def test_a_write_under_way_is_fenced(placed):
    """A lower epoch's half-sent file changes nothing, and leaves nothing."""
    await placed.at(1).write("a.txt", b"old")
    sent = asyncio.Event()
    go_on = asyncio.Event()

    async def slowly():
        yield b"half of "
        sent.set()
        await go_on.wait()
        yield b"the new one"

    writing = asyncio.create_task(placed.at(1).write("a.txt", slowly()))
    await sent.wait()
    await placed.at(2).take()
    go_on.set()
    with pytest.raises(Fenced):
        await writing
    assert (placed.checkout / "a.txt").read_bytes() == b"old"
    assert sorted(path.name for path in placed.checkout.iterdir()) == ["a.txt"]


async def test_many_holders_at_once_end_with_the_highest(placed):
    """Calls of ten epochs in any order: the highest is in force then, and nothing of the others runs."""
    order = [4, 9, 2, 7, 10, 3, 8, 5, 6, 1]
    spawns = await asyncio.gather(*(placed.at(n).spawn(["sleep", "1000"]) for n in order), return_exceptions=True)
    status = await placed.at(None).status()
    assert status["epoch"] == 10
    assert [s["epoch"] for s in status["spawns"]] == [10]
    assert len(placed.inside()) == 1
    for spawn in spawns:
        if not isinstance(spawn, Fenced):
            await spawn.close()


async def test_create_with_a_lower_epoch_is_fenced(placed, spec):
    """An envkeeper that lost its lease cannot create, neither at a living server nor over a dead one."""
    await placed.at(4).take()
    with pytest.raises(Fenced):
        await placed.local.create(spec, 3)
    os.kill(await placed.server_pid(), signal.SIGKILL)
    with pytest.raises(Fenced):
        await placed.local.create(spec, 3)
    await placed.local.create(spec, 4)
    with pytest.raises(Fenced):
        await placed.at(3).exec(["true"])


async def test_create_with_a_higher_epoch_takes_over(placed, spec):
    """An envkeeper that comes back with a new lease ends what its earlier self ran in the sandbox."""
    setup = await placed.at(1).spawn(["sleep", "1000"])
    await placed.local.create(spec, 2)
    assert look(setup.pid) is None
    await setup.close()
