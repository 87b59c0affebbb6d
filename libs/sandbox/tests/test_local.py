"""What the provider `local` makes, finds again and removes."""

import asyncio
import dataclasses
import os
import socket
import sys
from pathlib import Path

import pytest
from factory_sandbox import environment, provider, sockets
from factory_sandbox.client import Sandbox, node_key
from factory_sandbox.errors import Refused, SandboxError
from factory_sandbox.layout import Layout
from factory_sandbox.ledger import Ledger
from factory_sandbox.processes import look


async def test_create_finds_a_living_server(placed, spec):
    """create again gives the same handle and the same server, with what it runs."""
    server = await placed.server_pid()
    agent = await placed.at(1).spawn(["sleep", "1000"])
    assert await placed.local.create(spec, 1) == placed.handle
    assert await placed.server_pid() == server
    assert look(agent.pid)
    assert await placed.local.alive(placed.handle)
    await agent.close()


async def test_status_says_what_there_is(placed, spec):
    """status names epoch, spawns, kept, ports, the checkout's state and the private directories."""
    (placed.checkout / ".git").mkdir()
    async with await placed.at(1).spawn(["sleep", "1000"]) as agent:
        status = await placed.at(None).status()
        assert status["epoch"] == 1
        assert [(s["pid"], s["command"], s["epoch"]) for s in status["spawns"]] == [(agent.pid, "sleep", 1)]
        assert status["kept"] is None
        assert status["ports"] == [4000, 4019]
        assert status["checkout"]["present"] and status["checkout"]["git"]
        assert status["checkout"]["free_bytes"] > 0
        assert status["dirs"]["home"] == str(placed.layout.home)


async def test_destroy_leaves_nothing_and_may_be_repeated(placed, spec):
    """After destroy only the node's key is there; again, and before anything was made, it does nothing."""
    modules = placed.layout.home / "go" / "mod"
    modules.mkdir(parents=True)
    (modules / "file").write_text("x")
    modules.chmod(0o555)
    modules.parent.chmod(0o555)
    await placed.local.destroy(placed.handle)
    assert [str(p.relative_to(spec.node_dir)) for p in spec.node_dir.rglob("*") if p.is_file()] == ["key"]
    assert not placed.layout.place.exists()
    await placed.local.destroy(placed.handle)
    await placed.local.destroy(dataclasses.replace(placed.handle, job_id="jbbbbbbbbbb"))
    assert not await placed.local.alive(placed.handle)
    assert placed.local.placements(spec.node_dir) == []


async def test_destroy_by_a_caller_ends_processes_not_directories(placed):
    """Sandbox.destroy ends what runs; the provider removes the rest."""
    kept = await placed.at(1).spawn(["factory", "supervise"], keep=True)
    await kept.stdout.readline()
    server = await placed.server_pid()
    await placed.at(1).destroy()
    assert placed.inside() == []
    for _ in range(100):
        if look(server) is None:
            break
        await asyncio.sleep(0.02)
    assert look(server) is None
    assert placed.checkout.is_dir()
    await kept.close()


async def test_a_checkout_elsewhere_is_not_removed(placed, spec, tmp_path):
    """destroy removes the placement's own directory, never one that somebody else made."""
    elsewhere = tmp_path / "mine"
    elsewhere.mkdir()
    other = dataclasses.replace(spec, placement=2, checkout=elsewhere)
    handle = await placed.local.create(other, 1)
    await Sandbox(handle, placed.key, 1).write("a", b"x")
    await placed.local.destroy(handle)
    assert (elsewhere / "a").exists()


async def test_two_placements_do_not_meet(placed, spec, node_dir):
    """A job's next placement has its own server, directories and processes; ending one leaves the other."""
    checkout = node_dir / "places" / "jaaaaaaaaaa-2" / "checkout"
    checkout.mkdir(parents=True)
    second = await placed.local.create(dataclasses.replace(spec, placement=2, checkout=checkout), 1)
    other = Sandbox(second, placed.key, 1)
    agent = await other.spawn(["sleep", "1000"])
    assert len(placed.local.placements(node_dir)) == 2
    await placed.local.destroy(placed.handle)
    assert look(agent.pid)
    assert placed.local.placements(node_dir) == [second]
    await agent.close()
    await placed.local.destroy(second)


async def test_a_long_directory_works(spec, tmp_path):
    """A node's directory longer than a socket's address may be is dialled by a shorter way, for the same handle."""
    deep = tmp_path / ("d" * 60) / ("e" * 60) / "node"
    checkout = deep / "places" / "jaaaaaaaaaa-1" / "checkout"
    checkout.mkdir(parents=True)
    local = provider("local")
    handle = await local.create(dataclasses.replace(spec, node_dir=deep, checkout=checkout), 1)
    assert len(handle.socket) > 108
    assert Path(handle.socket).is_socket()
    try:
        assert (await Sandbox(handle, node_key(deep), 1).exec(["echo", "far"])).stdout == b"far\n"
        assert await local.alive(handle)
    finally:
        await local.destroy(handle)
    assert not await local.alive(handle)
    assert not [link for link in Path("/tmp").glob("sandbox-*") if str(deep) in str(link.readlink())]


async def test_shims_take_their_arguments(placed, spec):
    """A shim runs its command with what it was called with, word by word."""
    await placed.local.destroy(placed.handle)
    spec.checkout.mkdir(parents=True)
    shims = {"factory": ["printf", "<%s>"], "say": ["echo", "it's", "$HOME"]}
    await placed.local.create(dataclasses.replace(spec, shims=shims), 1)
    done = await placed.at(1).exec(["sh", "-c", "factory 'a b' c; say ok"])
    assert done.stdout == b"<a b><c>it's $HOME ok\n"
    assert sorted(p.name for p in placed.layout.bin.iterdir()) == ["factory", "say"]


async def test_the_ledger_is_there_before_the_thing(spec, monkeypatch):
    """When making a placement fails half-way, the ledger holds what may exist, and destroy cleans it."""
    local = provider("local")

    def fail(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as m:
        m.setattr("factory_sandbox.local._listen", fail)
        with pytest.raises(OSError, match="No space"):
            await local.create(spec, 1)
    (handle,) = local.placements(spec.node_dir)
    await local.destroy(handle)
    assert local.placements(spec.node_dir) == []
    assert not spec.checkout.exists()


async def test_a_reserved_placement_is_cleaned_before_it_was_made(spec, node_dir):
    """An envkeeper that dies while it clones leaves something that the ledger names and destroy removes."""
    local = provider("local")
    handle = local.reserve("n1", node_dir, "jaaaaaaaaaa", 1)
    (spec.checkout / "half").write_text("a clone")
    assert local.placements(node_dir) == [handle]
    assert await local.create(spec, 1) == handle
    assert len(Ledger(Layout.of(handle)).entries()) == 4
    await local.destroy(handle)
    assert local.placements(node_dir) == []
    assert not spec.checkout.exists()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"job_id": "../x"}, "bad-name"),
        ({"job_id": "A"}, "bad-name"),
        ({"node": "N 1"}, "bad-name"),
        ({"checkout": Path("/nowhere/at/all")}, "no-checkout"),
        ({"env": {"FACTORY_DATABASE_URL": "x"}}, "secret-in-environment"),
        ({"env": {"": "x"}}, "bad-environment"),
    ],
)
async def test_a_spec_that_cannot_be_is_refused_before_anything_is_made(spec, node_dir, change, code):
    """Bad input: a clear refusal, and nothing half-done."""
    with pytest.raises(Refused) as refused:
        await provider("local").create(dataclasses.replace(spec, **change), 1)
    assert refused.value.code == code
    assert not list(node_dir.glob("ledger/*"))
    assert not list(node_dir.glob("run/*"))


def test_an_unknown_provider_is_named():
    """Who asks for a provider that is not there learns which are."""
    with pytest.raises(SandboxError) as unknown:
        provider("cloud")
    assert unknown.value.code == "no-provider"
    assert "local" in unknown.value.message


async def test_a_server_that_cannot_start_says_why(spec, monkeypatch, tmp_path):
    """The error holds what the server's own log says."""
    broken = tmp_path / "server.py"
    broken.write_text("import sys\nsys.exit('no room on this machine')\n")
    monkeypatch.setattr("factory_sandbox.local._SERVER", broken)
    local = provider("local")
    with pytest.raises(SandboxError) as failed:
        await local.create(spec, 1)
    assert failed.value.code == "server-failed"
    assert "no room on this machine" in failed.value.message
    (handle,) = local.placements(spec.node_dir)
    await local.destroy(handle)


async def test_server_and_reaper_need_the_standard_library_only(placed):
    """Both run isolated and without site-packages, so they can be put into any image that has a Python."""
    agent = await placed.at(1).spawn(["sleep", "1000"])
    server = await placed.server_pid()
    reaper = look(agent.pid).ppid
    for pid in (server, reaper):
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        assert words[1:3] == ["-I", "-S"]
    await agent.close()


async def test_a_machine_path_without_our_environment(monkeypatch, tmp_path):
    """Directories of our virtual environment are dropped from PATH, also under another name; odd entries too."""
    ours = tmp_path / "venv"
    (ours / "bin").mkdir(parents=True)
    other_name = tmp_path / "other"
    other_name.symlink_to(ours / "bin")
    monkeypatch.setattr(sys, "prefix", str(ours))
    monkeypatch.setenv("PATH", os.pathsep.join([str(ours / "bin"), str(other_name), "", "relative", "/usr/bin"]))
    assert environment.machine_path() == ["/usr/bin"]
    monkeypatch.setenv("PATH", str(ours / "bin"))
    assert "/usr/bin" in environment.machine_path()


async def test_an_alias_that_is_somebody_elses_is_not_followed(tmp_path, monkeypatch):
    """Where another file is in the place of the short way, that is said, and nothing is dialled there."""
    deep = tmp_path / ("d" * 120) / "run"
    deep.mkdir(parents=True)
    alias = Path(sockets.address(deep / "x.sock")).parent
    alias.unlink()
    alias.symlink_to(tmp_path)
    try:
        with pytest.raises(SandboxError) as refused:
            sockets.address(deep / "x.sock")
        assert refused.value.code == "bad-alias"
    finally:
        alias.unlink()


async def test_a_stale_socket_file_is_no_server(spec, node_dir):
    """A socket that nobody listens on, left by a crash, is replaced."""
    run = node_dir / "run"
    run.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(sockets.address(run / "jaaaaaaaaaa-1.sock"))
    local = provider("local")
    handle = await local.create(spec, 1)
    assert await local.alive(handle)
    await local.destroy(handle)
