"""Brings a database to the present shape: numbered SQL files, each once, under an advisory lock."""

from importlib.resources import files

import asyncpg

TABLE = """CREATE TABLE IF NOT EXISTS schema_migrations (
    number int PRIMARY KEY, name text NOT NULL, at timestamptz NOT NULL DEFAULT now())"""
LOCK = 0x5F_FAC7  # any number that nobody else uses in this database


def migrations() -> list[tuple[int, str, str]]:
    """(number, name, SQL) in order. File names are `NNNN_name.sql`."""
    found = [f for f in files("factory_jobs").joinpath("sql/migrations").iterdir() if f.name.endswith(".sql")]
    return sorted((int(f.name[:4]), f.name, f.read_text()) for f in found)


async def migrate(connection: asyncpg.Connection) -> list[str]:
    """Applies what is missing; returns the names. Several processes may call it at once."""
    applied: list[str] = []
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
        await connection.execute(TABLE)
        done = {r["number"] for r in await connection.fetch("SELECT number FROM schema_migrations")}
        for number, name, sql in migrations():
            if number not in done:
                await connection.execute(sql)
                await connection.execute("INSERT INTO schema_migrations (number, name) VALUES ($1, $2)", number, name)
                applied.append(name)
    return applied
