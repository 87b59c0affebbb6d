"""What `read` and `write` take, and what they refuse."""

import asyncio
import os
import socket
import stat
from collections.abc import AsyncIterator

import pytest
from factory_sandbox.errors import Refused, SandboxLost

MB = 1 << 20


async def test_what_is_written_is_read(shared):
    """A file goes in and comes out, below directories that are made on the way, with its mode."""
    sandbox = shared.at(1)
    assert await sandbox.write("docs/a/notes.txt", b"hello", mode=0o600) == 5
    assert await sandbox.read("docs/a/notes.txt") == b"hello"
    assert await sandbox.read("./docs//a/notes.txt", offset=1, max_bytes=3) == b"ell"
    assert await sandbox.read("docs/a/notes.txt", offset=100) == b""
    assert await sandbox.read("docs/a/notes.txt", max_bytes=0) == b""
    assert stat.S_IMODE((shared.checkout / "docs/a/notes.txt").stat().st_mode) == 0o600
    await sandbox.write("docs/a/notes.txt", b"")
    assert await sandbox.read("docs/a/notes.txt") == b""
    assert stat.S_IMODE((shared.checkout / "docs/a/notes.txt").stat().st_mode) == 0o644


@pytest.fixture
def traps(shared, tmp_path, monkeypatch):
    """Things in a checkout that an agent could have left for whoever reads it."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    here = shared.checkout
    os.mkfifo(here / "scenarios.yaml")
    (here / "link").symlink_to(outside / "secret")
    (here / "inner").symlink_to("real")
    (here / "real").write_text("real")
    (here / "dangling").symlink_to(outside / "nothing")
    (here / "way").symlink_to(outside)
    (here / "dir").mkdir()
    listening = socket.socket(socket.AF_UNIX)
    monkeypatch.chdir(here)  # an address holds 108 bytes
    listening.bind("sock")
    yield outside
    listening.close()


REFUSED = [
    ("scenarios.yaml", "not-a-file"),
    ("link", "link"),
    ("inner", "link"),
    ("dangling", "link"),
    ("way/secret", "link"),
    ("dir", "not-a-file"),
    ("sock", "not-a-file"),
    ("real/below", "not-a-file"),
    ("../outside/secret", "bad-path"),
    ("dir/../../outside/secret", "bad-path"),
    ("/etc/passwd", "bad-path"),
    ("", "bad-path"),
    (".", "bad-path"),
    ("dir/", "bad-path"),
    ("a\0b", "bad-path"),
]


async def test_only_regular_files_beneath_the_checkout_are_read(shared, traps):
    """A FIFO, a link (also on the way), a socket, a way out: refused at once and by name."""
    for path, code in REFUSED:
        with pytest.raises(Refused) as refused:
            await asyncio.wait_for(shared.at(None).read(path), 5)
        assert refused.value.code == code, path


async def test_only_regular_files_beneath_the_checkout_are_written(shared, traps):
    """The same holds for writing, and nothing outside changes."""
    for path, code in REFUSED:
        with pytest.raises(Refused) as refused:
            await asyncio.wait_for(shared.at(1).write(path, b"mine"), 5)
        assert refused.value.code == code, path
    assert [p.name for p in traps.iterdir()] == ["secret"]
    assert (traps / "secret").read_text() == "secret"
    assert not [p for p in shared.checkout.rglob("*") if p.name.endswith(".part")]


@pytest.mark.skipif(os.getuid() != 0, reason="makes a device")
async def test_a_device_is_refused(shared):
    """A device file does not pass for a file."""
    os.mknod(shared.checkout / "zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    for call in (shared.at(None).read("zero"), shared.at(1).write("zero", b"x")):
        with pytest.raises(Refused) as refused:
            await call
        assert refused.value.code == "not-a-file"


async def test_what_is_not_there_is_named(shared):
    """A missing file, and a missing directory on its way, are told apart from other refusals."""
    for path in ("missing.txt", "no/such/dir/missing.txt"):
        with pytest.raises(Refused) as refused:
            await shared.at(None).read(path)
        assert refused.value.code == "no-such-file"


async def test_a_checkout_that_became_a_link_is_refused(placed, tmp_path):
    """An agent that replaces the whole checkout by a link leads nobody away."""
    placed.checkout.rmdir()
    placed.checkout.symlink_to(tmp_path)
    (tmp_path / "secret").write_text("secret")
    with pytest.raises(Refused) as refused:
        await placed.at(None).read("secret")
    assert refused.value.code == "no-checkout"
    placed.checkout.unlink()


async def test_200_mb_pass_without_being_held(shared):
    """A file far larger than memory should be goes through write and read; the server's peak stays small."""
    sandbox = shared.at(1)
    before = (await sandbox.status())["server"]["peak_rss_bytes"]

    async def source() -> AsyncIterator[bytes]:
        for n in range(200):
            yield bytes((n,)) * MB

    assert await sandbox.write("big.bin", source()) == 200 * MB
    size = 0
    async for chunk in sandbox.read_chunks("big.bin"):
        assert (chunk[0], chunk[-1]) == (size // MB, (size + len(chunk) - 1) // MB)
        size += len(chunk)
    assert size == 200 * MB
    assert (await sandbox.status())["server"]["peak_rss_bytes"] - before < 20 * MB


async def test_a_large_read_is_bounded_unless_asked_for(shared):
    """read gives 16 MiB at most by itself."""
    await shared.at(1).write("big.bin", b"x" * (17 * MB))
    assert len(await shared.at(None).read("big.bin")) == 16 * MB
    assert len(await shared.at(None).read("big.bin", max_bytes=20 * MB)) == 17 * MB


async def test_a_writer_that_fails_changes_nothing(shared):
    """When the caller's data breaks off, the old file is there and no half of the new one."""
    await shared.at(1).write("a.txt", b"old")

    async def broken() -> AsyncIterator[bytes]:
        yield b"new" * 100_000
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await shared.at(1).write("a.txt", broken())
    for _ in range(100):
        if len(list(shared.checkout.iterdir())) == 1:
            break
        await asyncio.sleep(0.02)
    assert [p.name for p in shared.checkout.iterdir()] == ["a.txt"]
    assert await shared.at(None).read("a.txt") == b"old"


async def test_a_name_that_becomes_a_trap_meanwhile(shared):
    """A link put in the target's place while the file is sent is not written through, nor replaced."""

    async def slowly() -> AsyncIterator[bytes]:
        yield b"a"
        (shared.checkout / "a.txt").symlink_to("/etc/passwd")
        yield b"b"

    with pytest.raises(Refused) as refused:
        await shared.at(1).write("a.txt", slowly())
    assert refused.value.code == "link"
    assert (shared.checkout / "a.txt").is_symlink()


async def test_reading_without_a_server(placed):
    """Calls to a destroyed placement say that it is lost."""
    await placed.local.destroy(placed.handle)
    with pytest.raises(SandboxLost):
        await placed.at(None).read("a")
    with pytest.raises(SandboxLost):
        await placed.at(1).write("a", b"")
