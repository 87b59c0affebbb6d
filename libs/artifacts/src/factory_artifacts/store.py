"""The S3-compatible storage of artifacts: put, get, stream, stat, list, and nothing that only some servers have."""

import asyncio
import copy
import errno
import hashlib
import io
import os
import re
import stat as modes
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Self, TypeVar
from urllib.parse import urlsplit

import msgspec
import urllib3
from minio import Minio
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError

from .errors import (
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

MIB = 1024 * 1024
PART = 16 * MIB  # of a multipart upload; one part at a time is in memory
CHUNK = 256 * 1024  # bytes of one chunk of a stream
LONGEST = 5.0  # seconds between two tries of a patient store

T = TypeVar("T")


class Stored(msgspec.Struct, frozen=True):
    """An object that was put and then found by `stat` with the same size; hash and size are of what was sent."""

    key: str
    sha256: str
    size: int
    content_type: str


class Stat(msgspec.Struct, frozen=True):
    """An object as the server knows it. It has no hash: not every server keeps metadata, our rows do."""

    key: str
    size: int
    content_type: str  # as the server says; some guess it anew after a restart, `content_type(name)` does not
    etag: str


class ArtifactStore:
    """One bucket. Every method raises StorageDown, StorageRefused or what its docstring names, and leaves nothing half.

    The client is blocking and runs in threads: a cancelled call returns at once, its request may still complete.
    """

    def __init__(self, endpoint: str, bucket: str, access_key: str, secret_key: str) -> None:
        """`endpoint` is `http://host:port` or `https://host[:port]`; nothing is asked of it yet. Raises BadEndpoint."""
        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.username:
            raise BadEndpoint(endpoint=endpoint)
        self.endpoint, self.bucket = f"{parts.scheme}://{parts.netloc}", bucket
        self._patience = 0.0
        self._connections = urllib3.PoolManager(
            maxsize=10,
            timeout=urllib3.Timeout(connect=5, read=60),
            retries=urllib3.Retry(total=2, backoff_factor=0.2, status_forcelist=[502, 503, 504]),
        )
        self._client = Minio(
            endpoint=parts.netloc,
            access_key=access_key,
            secret_key=secret_key,
            secure=parts.scheme == "https",
            # AWS' own host names say their region; elsewhere it is a word that both sides sign, and asking for it
            # (as the client does by default) fails on servers without GetBucketLocation.
            region=None if parts.hostname.endswith(".amazonaws.com") else "us-east-1",
            http_client=self._connections,
        )

    def patient(self, seconds: float) -> Self:
        """The same store for callers that can wait: StorageDown is raised only after so many seconds of it in a row."""
        patient = copy.copy(self)
        patient._patience = seconds
        return patient

    def close(self) -> None:
        """Gives the idle connections back."""
        self._connections.clear()

    async def ensure_bucket(self) -> None:
        """Makes the bucket where it is missing; two callers at once are fine."""

        def ensure() -> None:
            if self._client.bucket_exists(bucket_name=self.bucket):
                return
            try:
                self._client.make_bucket(bucket_name=self.bucket)
            except MinioException as error:
                if _answer(error)[1] not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                    raise

        await self._call("", ensure)

    async def put_bytes(self, key: str, data: bytes, content_type: str) -> Stored:
        """Stores `data`, which replaces what had this key. Raises NotStored when the size found after it differs."""
        stored = Stored(key, hashlib.sha256(data).hexdigest(), len(data), content_type)
        await self._call(key, lambda: self._put(key, io.BytesIO(data), len(data), content_type))
        return stored

    async def put_file(self, key: str, path: Path, content_type: str) -> Stored:
        """Stores the regular file at `path` without loading it whole; the hash is taken of the bytes sent.

        Raises BadFile for a link, FIFO, device or missing file, and for a file that shrinks meanwhile (one that grows
        is stored up to the size it had); NotStored as `put_bytes`.
        """

        def put() -> Stored:
            with _regular_file(path) as file:
                size = os.fstat(file.fileno()).st_size
                hashing = _Hashing(file)
                try:
                    self._put(key, hashing, size, content_type)
                except OSError as error:  # so the client says that the file ended early
                    if hashing.size == size:
                        raise
                    reason = f"it shrank from {size} to {hashing.size} bytes during the upload"
                    raise BadFile(path=str(path), reason=reason) from error
                return Stored(key, hashing.sha256.hexdigest(), size, content_type)

        return await self._call(key, put)

    async def get_bytes(self, key: str, max_bytes: int = 64 * MIB) -> bytes:
        """The whole object. Raises NoSuchArtifact, and TooLarge before more than `max_bytes` are in memory."""

        def get() -> bytes:
            with self._opened(key, 0, None) as response:
                data = response.read(max_bytes + 1)
            if len(data) > max_bytes:
                raise TooLarge(key=key, max_bytes=max_bytes)
            return data

        return await self._call(key, get)

    async def get_file(self, key: str, path: Path) -> None:
        """Writes the object to `path`, which appears (or is replaced) only when it is whole. Raises NoSuchArtifact."""

        def get() -> None:
            part = tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name[:80]}.", delete=False)  # noqa: SIM115
            try:
                with part, self._opened(key, 0, None) as response:
                    while chunk := response.read(CHUNK):
                        part.write(chunk)
                Path(part.name).replace(path)
            except BaseException:
                Path(part.name).unlink(missing_ok=True)
                raise

        await self._call(key, get)

    async def stream(self, key: str, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """Chunks of at most 256 KiB of `length` bytes from `offset`; without `length` to the end.

        Raises NoSuchArtifact and BadRange (RFC 9110, 15.5.17: the range begins after the end) before the first chunk.
        The connection is given back when the iteration ends; who breaks out of it early closes it (`aclosing`).
        """
        if length is not None and length <= 0:
            await self.stat(key)
            return
        opened = self._opened(key, offset, length)
        response = await self._call(key, opened.__enter__, offset)
        try:
            while chunk := await self._call(key, lambda: response.read(CHUNK)):
                yield chunk
        finally:
            opened.__exit__(None, None, None)

    async def stat(self, key: str) -> Stat:
        """Size and media type. Raises NoSuchArtifact."""
        return await self._call(key, lambda: self._stat(key))

    async def list(self, prefix: str) -> list[str]:
        """All keys that begin with `prefix`, sorted."""

        def keys() -> list[str]:
            found = self._client.list_objects(bucket_name=self.bucket, prefix=prefix, recursive=True)
            return sorted(item.object_name for item in found if item.object_name and not item.is_dir)

        return await self._call(prefix, keys)

    def _put(self, key: str, data: Any, size: int, content_type: str) -> None:
        self._client.put_object(
            bucket_name=self.bucket,
            object_name=key,
            data=data,
            length=size,
            content_type=content_type,
            part_size=PART,
            num_parallel_uploads=1,
        )
        found = self._stat(key).size
        if found != size:
            raise NotStored(key=key, size=size, found=found)

    def _stat(self, key: str) -> Stat:
        found = self._client.stat_object(bucket_name=self.bucket, object_name=key)
        return Stat(key, found.size or 0, found.content_type or "application/octet-stream", found.etag or "")

    @contextmanager
    def _opened(self, key: str, offset: int, length: int | None) -> Iterator[Any]:
        response = self._client.get_object(bucket_name=self.bucket, object_name=key, offset=offset, length=length or 0)
        try:
            yield response
        finally:
            response.close()  # first: release_conn alone would keep a connection with unread bytes in the pool
            response.release_conn()

    async def _call(self, key: str, call: Callable[[], T], offset: int = 0) -> T:
        """Runs `call` in a thread and turns the client's errors into ours; again while there is patience left."""
        began, pause = time.monotonic(), 0.5
        while True:
            try:
                return await asyncio.to_thread(call)
            except (MinioException, urllib3.exceptions.HTTPError) as error:
                named = self._named(error, key, offset)
                if not isinstance(named, StorageDown) or time.monotonic() - began + pause > self._patience:
                    raise named from error
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST)

    def _named(self, error: Exception, key: str, offset: int) -> ArtifactError:
        status, code = _answer(error)
        if code in ("NoSuchKey", "NoSuchObject"):
            return NoSuchArtifact(key=key)
        if code == "InvalidRange":
            return BadRange(key=key, offset=offset)
        if status == 0 or status >= 500:
            reason = str(getattr(error, "reason", None) or error)[:300]
            return StorageDown(endpoint=self.endpoint, reason=reason)
        return StorageRefused(endpoint=self.endpoint, reason=f"{status} {code}, bucket {self.bucket}")


def _answer(error: Exception) -> tuple[int, str]:
    """HTTP status and S3 code of a refused request; (0, "") where there was no answer.

    The client reads an error's code only from `application/xml`; servers that say `text/xml` (rclone) come out as
    InvalidResponseError with the document in its text.
    """
    if isinstance(error, S3Error):
        return error.response.status, error.code or ""
    if isinstance(error, ServerError):
        return error.status_code, ""
    if isinstance(error, InvalidResponseError):
        status = re.search(r"Response code: (\d+)", str(error))
        code = re.search(r"<Code>(\w+)</Code>", str(error))
        return int(status[1]) if status else 0, code[1] if code else ""
    return 0, ""


@contextmanager
def _regular_file(path: Path) -> Iterator[BinaryIO]:
    """Opens without following a link and without waiting on a FIFO: the file may lie where an agent writes."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        reason = "it is a link" if error.errno in (errno.ELOOP, errno.EMLINK) else error.strerror or str(error)
        raise BadFile(path=str(path), reason=reason) from error
    if not modes.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise BadFile(path=str(path), reason="it is no regular file")
    with os.fdopen(fd, "rb") as file:
        yield file


class _Hashing:
    """A file that hashes and counts what is read from it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.sha256, self.size = file, hashlib.sha256(), 0

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self.sha256.update(data)
        self.size += len(data)
        return data
