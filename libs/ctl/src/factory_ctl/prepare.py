"""What has to be there before a service starts: the database at the present shape, and the artifact store's bucket."""

from __future__ import annotations

import asyncpg
from factory_artifacts.errors import ArtifactError
from factory_artifacts.store import ArtifactStore
from factory_chassis.settings import Settings
from factory_jobs import migrate


class CannotPrepare(Exception):
    """Postgres or the artifact store does not let us; which, and why."""


async def prepare(settings: Settings) -> list[str]:
    """The names of the migrations that were missing. May be done again, and by several at once. Raises CannotPrepare."""
    try:
        applied = await _database(settings.database_url.get_secret_value())
    except (OSError, asyncpg.PostgresError) as e:
        raise CannotPrepare(f"Postgres: {e}") from e
    try:
        await _bucket(settings)
    except ArtifactError as e:
        raise CannotPrepare(str(e)) from e
    return applied


async def _database(url: str) -> list[str]:
    connection = await asyncpg.connect(url, timeout=10)
    try:
        return await migrate.migrate(connection)
    finally:
        await connection.close()


async def _bucket(settings: Settings) -> None:
    store = ArtifactStore(
        settings.s3_endpoint, settings.s3_bucket, settings.s3_access_key, settings.s3_secret_key.get_secret_value()
    )
    try:
        await store.ensure_bucket()
    finally:
        store.close()


def said(applied: list[str]) -> str:
    return f"database brought up to date ({len(applied)} {'step' if len(applied) == 1 else 'steps'})"
