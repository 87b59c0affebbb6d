"""The road and the present shape of the database meet, and what the SQL lists is what the code knows."""

import asyncio
import re
from importlib.resources import files
from typing import Any

import asyncpg
import pytest
from factory_jobs import db
from factory_jobs import migrate as migrate_module
from factory_jobs.job import Job
from factory_jobs.migrate import migrate, migrations
from factory_jobs.queries import QUERIES
from factory_jobs.store import NewRequest, Store

SCHEMA = files("factory_jobs").joinpath("sql/schema.sql").read_text()

CATALOGUE = {
    "columns": """SELECT table_name, column_name, data_type, is_nullable, column_default, is_identity, ordinal_position
        FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2""",
    "constraints": """SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2""",
    "indexes": "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1, 2",
    "views": "SELECT viewname, definition FROM pg_views WHERE schemaname = 'public' ORDER BY 1",
    "functions": """SELECT proname, pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
        ORDER BY 1""",
    "triggers": "SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1",
    "types": "SELECT typname FROM pg_type WHERE typnamespace = 'public'::regnamespace AND typtype = 'e' ORDER BY 1",
}


async def catalogue(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """Everything in the database but the migrations' own table."""
    connection = await asyncpg.connect(url)
    try:
        found = {name: [tuple(r) for r in await connection.fetch(sql)] for name, sql in CATALOGUE.items()}
    finally:
        await connection.close()
    return {name: [r for r in rows if "schema_migrations" not in str(r[0])] for name, rows in found.items()}


async def test_the_migrations_lead_to_the_schema(postgres_url: str, empty_url: str) -> None:
    """Tables, columns, defaults, checks, indexes, views and functions are the same whichever way they came."""
    connection = await asyncpg.connect(empty_url)
    await connection.execute(SCHEMA)
    await connection.close()
    road, present = await catalogue(postgres_url), await catalogue(empty_url)
    for name in CATALOGUE:
        assert road[name] == present[name], name
    assert {t for t, *_ in present["columns"]} >= {"jobs", "job_events", "errands", "history"}
    assert [name for name, _ in present["functions"]] == ["job_apply", "job_claim"]


async def test_the_comparison_would_show_a_difference(postgres_url: str, empty_url: str) -> None:
    """A check, an index or a line of a function that only one of them has."""
    connection = await asyncpg.connect(empty_url)
    await connection.execute(
        SCHEMA.replace("'merged', 'failed', 'cancelled')),", "'merged', 'failed', 'cancelled', 'lost')),", 1)
        .replace("CREATE INDEX owned_live", "CREATE INDEX owned_alive")
        .replace("new.seq := old.seq + 1;", "new.seq := old.seq + 2;")
    )
    await connection.close()
    road, other = await catalogue(postgres_url), await catalogue(empty_url)
    assert [n for n in CATALOGUE if road[n] != other[n]] == ["constraints", "indexes", "functions"]


async def test_several_may_migrate_at_once(empty_url: str) -> None:
    """All services start together: one applies, the others find it done; nobody fails."""
    connections = [await asyncpg.connect(empty_url) for _ in range(5)]
    applied = await asyncio.gather(*(migrate(c) for c in connections))
    names = [name for _, name, _ in migrations()]
    assert sorted(applied) == [[], [], [], [], names]
    rows = await connections[0].fetch("SELECT number, name FROM schema_migrations ORDER BY number")
    assert [(r["number"], r["name"]) for r in rows] == [(n, name) for n, name, _ in migrations()]
    for connection in connections:
        await connection.close()


async def test_a_migration_that_fails_leaves_nothing(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither its tables nor its number; the next call begins where this one did."""
    connection = await asyncpg.connect(empty_url)
    broken = [*migrations(), (9999, "9999_broken.sql", "CREATE TABLE half (id int); SELECT 1/0;")]
    with monkeypatch.context() as patch:
        patch.setattr(migrate_module, "migrations", lambda: broken)
        with pytest.raises(asyncpg.DivisionByZeroError):
            await migrate(connection)
    assert await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
    assert await migrate(connection) == [name for _, name, _ in migrations()]
    assert await migrate(connection) == []
    await connection.close()


def test_migrations_are_numbered_without_gaps() -> None:
    """From 1, each number once."""
    assert [number for number, _, _ in migrations()] == list(range(1, len(migrations()) + 1))


# Columns that no move writes: what a job is born with.
FIXED = {"id", "project", "snapshot", "repo", "replay_of", "replay", "created_at"}


def test_job_apply_writes_every_column_that_may_change() -> None:
    """A column that is added and forgotten there would be lost without a word."""
    update = re.search(r"UPDATE jobs SET \(([^)]*)\)\s*= \(([^)]*)\)", SCHEMA)
    assert update is not None
    left, right = ([c.strip() for c in side.split(",")] for side in update.groups())
    assert [f"new.{c}" for c in left] == right
    assert set(left) | FIXED == set(Job.__struct_fields__)
    assert not set(left) & FIXED


async def test_the_row_and_the_struct_have_the_same_columns(pool: asyncpg.Pool) -> None:
    """What is read of a job is all of it, and every field has its column with the same default."""
    job = await Store(pool).create(
        project="p", snapshot={}, repo="r", title="t", request=NewRequest(source="s", author="a", text="t")
    )
    assert job is not None
    row = await pool.fetchrow("SELECT * FROM jobs WHERE id = $1", job.id)
    assert row is not None
    assert list(row.keys()) == list(Job.__struct_fields__)
    born = Job(
        **{c: row[c] for c in ("id", "state", "version", "seq", "project", "snapshot", "repo", "title")},
        **{c: row[c] for c in ("next_attempt_at", "created_at", "entered_at")},
    )
    assert born == job


async def test_every_query_is_valid(pool: asyncpg.Pool) -> None:
    """Postgres can prepare it, and its reason stands above it."""
    wrong: dict[str, str] = {}
    async with pool.acquire() as connection:
        for name, sql in QUERIES.items():
            try:
                await connection.prepare(sql)
            except asyncpg.PostgresError as e:
                wrong[name] = str(e)
    assert wrong == {}
    assert [name for name, sql in QUERIES.items() if not sql.startswith("-- ")] == []


async def test_a_pool_speaks_json(postgres_url: str) -> None:
    """JSON goes in and out as plain data, with structs and times in it."""
    pool = await db.connect(postgres_url, size=2, name="a-test")
    try:
        sent = {"a": [1, None, "„€“"], "request": NewRequest(source="s", author="a", text="t")}
        got = await pool.fetchval("SELECT $1::jsonb", sent)
        assert got["a"] == [1, None, "„€“"]
        assert got["request"]["author"] == "a"
        assert await pool.fetchval("SELECT current_setting('application_name')") == "a-test"
    finally:
        await pool.close()
