"""The pool of connections: JSON columns go in and out as plain data, queries are called by name."""

import json
import re
from collections.abc import Sequence
from typing import Any

import asyncpg
import msgspec

from .queries import QUERIES

type_names = ("json", "jsonb")
NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")  # as JSON writes it, and no escaped backslash before a u


def _encode(value: Any) -> str:
    try:
        text = msgspec.json.encode(value).decode()
    except UnicodeEncodeError:
        text = _whole(json.dumps(msgspec.to_builtins(value), ensure_ascii=False))
    return NUL.sub(r"\1\\ufffd", text) if "\\u0000" in text else text


def _text(value: str) -> str:
    return _whole(value).replace("\0", "\ufffd")


def _whole(text: str) -> str:
    """With half of a surrogate pair replaced: a string of JavaScript that was cut in the middle of an emoji ends so."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


async def _prepare(connection: asyncpg.Connection) -> None:
    """Postgres keeps no NUL and no half character, and whatever an app or an agent says may hold one."""
    for name in type_names:
        await connection.set_type_codec(name, encoder=_encode, decoder=msgspec.json.decode, schema="pg_catalog")
    await connection.set_type_codec("text", encoder=_text, decoder=str, schema="pg_catalog")


_leads: set[int] = set()  # the sessions that asked for a lead, by the pids of their backends


async def lead(connection: asyncpg.pool.PoolConnectionProxy, name: str) -> bool:
    """Whether this connection has the lead in `name`, of all processes: until it is given back to the pool, or breaks."""
    _leads.add(connection.get_server_pid())
    return await connection.fetchval(QUERIES["take_lead"], name)


async def _given_back(connection: asyncpg.Connection) -> None:
    """asyncpg resets a session with a statement each time; here nobody changes one but by taking a lead."""
    if (session := connection.get_server_pid()) in _leads:
        _leads.discard(session)
        await connection.execute(QUERIES["end_leads"])


async def connect(url: str, *, size: int = 4, name: str = "factory") -> asyncpg.Pool:
    """A pool on `url` (postgresql://…). Raises OSError or asyncpg.PostgresError where the server does not answer."""
    return await asyncpg.create_pool(
        url,
        min_size=1,
        max_size=size,
        init=_prepare,
        reset=_given_back,
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
