"""What a factory stands on, in a test's hands: servers that can be taken away and brought back, and its armed failpoints.

The factory gets the servers by URL, so that it does not start them again itself.
"""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from factory_ctl.embedded import BUCKET, S3, Nats, Postgres, Server

LONG = bool(os.environ.get("LONG"))  # `make test-faults LONG=1`
T = TypeVar("T")


def running(coroutine: Coroutine[Any, Any, T]) -> T:
    """For fixtures that outlive a test's own loop."""
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        return runner.run(coroutine)


class Outside:
    """NATS, Postgres and S3 of one factory."""

    def __init__(self, directory: Path) -> None:
        self.nats, self.postgres, self.s3 = Nats(directory), Postgres(directory), S3(directory)
        self.servers: tuple[Server, ...] = (self.nats, self.postgres, self.s3)
        self.store = self.nats.data / "jetstream"
        self.armed = directory / "armed"
        self.armed.mkdir()

    async def start(self) -> None:
        await asyncio.gather(*(s.start() for s in self.servers))

    async def stop(self) -> None:
        await asyncio.gather(*(s.stop() for s in self.servers))

    def environment(self) -> dict[str, str]:
        return {
            "FACTORY_DATABASE_URL": self.postgres.url,
            "FACTORY_NATS_URL": self.nats.url,
            "FACTORY_S3_ENDPOINT": self.s3.endpoint,
            "FACTORY_S3_BUCKET": BUCKET,
            "FACTORY_S3_ACCESS_KEY": self.s3.access_key,
            "FACTORY_S3_SECRET_KEY": self.s3.secret_key,
            "FACTORY_FAILPOINT": str(self.armed),
        }

    def arm(self, place: str, act: str, job_id: str = "") -> None:
        """From now on it happens to whoever comes there, with this job where one is named; once."""
        (self.armed / (f"{place}@{job_id}" if job_id else place)).write_text(act)

    def still_armed(self) -> list[str]:
        """What nobody came by."""
        return [p.name for p in self.armed.iterdir()]

    def disarm(self) -> None:
        for armed in self.armed.iterdir():
            armed.unlink(missing_ok=True)

    @asynccontextmanager
    async def away(self, server: Server) -> AsyncIterator[None]:
        """Killed, and back when the block ends."""
        assert server.child
        await server.child.stop(signal.SIGKILL, wait=5)
        try:
            yield
        finally:
            await server.start()

    def copy_store(self, to: Path) -> None:
        """What NATS has written until now."""
        shutil.copytree(self.store, to, dirs_exist_ok=True, ignore_dangling_symlinks=True)

    def put_store(self, kept: Path | None) -> None:
        """NATS finds this when it comes back; nothing at all without `kept`."""
        shutil.rmtree(self.store)
        if kept:
            shutil.copytree(kept, self.store)
