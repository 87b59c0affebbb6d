"""The SQLite file: how it is opened, and the numbered migrations that shape it.

Run as a program it applies what is missing: `python3 -m deskline.database`.
"""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from deskline import settings

MIGRATIONS = Path(__file__).parent / "migrations"


@contextlib.contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """One transaction on an existing database: committed at the end of the block, rolled back if it raises."""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=5)
    connection.row_factory = sqlite3.Row
    try:
        connection.execute("PRAGMA foreign_keys = ON")
        with connection:
            yield connection
    finally:
        connection.close()


def migrate(path: Path, migrations: Path = MIGRATIONS) -> list[str]:
    """Applies each migration that the file has not seen, in order; returns their names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=5)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        done = connection.execute("PRAGMA user_version").fetchone()[0]
        applied = []
        for script in sorted(migrations.glob("[0-9]*.sql")):
            number = int(script.name.split("_")[0])
            if number > done:
                # One transaction for each: a migration that fails leaves the version before it.
                connection.executescript(f"BEGIN IMMEDIATE; {script.read_text()} PRAGMA user_version = {number}; COMMIT;")
                applied.append(script.name)
        return applied
    finally:
        connection.close()


if __name__ == "__main__":
    names = migrate(settings.DATABASE)
    print(f"{settings.DATABASE}: " + (f"applied {', '.join(names)}" if names else "nothing to apply"))
