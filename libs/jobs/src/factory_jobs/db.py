"""The pool of connections: JSON columns go in and out as plain data, queries are called by name."""

from collections.abc import Sequence
from typing import Any

import asyncpg
import msgspec

from .queries import QUERIES

type_names = ("json", "jsonb")


def _encode(value: Any) -> str:
    return msgspec.json.encode(value).decode()


async def _prepare(connection: asyncpg.Connection) -> None:
    for name in type_names:
        await connection.set_type_codec(name, encoder=_encode, decoder=msgspec.json.decode, schema="pg_catalog")


async def connect(url: str, *, size: int = 4, name: str = "factory") -> asyncpg.Pool:
    """A pool on `url` (postgresql://…). Raises OSError or asyncpg.PostgresError where the server does not answer."""
    return await asyncpg.create_pool(
        url,
        min_size=1,
        max_size=size,
        init=_prepare,
        command_timeout=30,
        timeout=10,
        server_settings={"application_name": name, "jit": "off"},
    )


class Queries:
    """Base of what reads and writes by the named queries."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self.pool = pool

    async def all(self, query: str, *args: Any) -> Sequence[asyncpg.Record]:
        return await self.pool.fetch(QUERIES[query], *args)

    async def row(self, query: str, *args: Any) -> asyncpg.Record | None:
        return await self.pool.fetchrow(QUERIES[query], *args)

    async def value(self, query: str, *args: Any) -> Any:
        return await self.pool.fetchval(QUERIES[query], *args)

    async def run(self, query: str, *args: Any) -> None:
        await self.pool.execute(QUERIES[query], *args)
