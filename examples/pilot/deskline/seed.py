"""People and tickets to start with, from `seed.json`. An e-mail that is there already is left alone."""

import json
from pathlib import Path

from deskline import accounts, database, settings, tickets

SEED = Path(__file__).parent.parent / "seed.json"


def fill(path: Path, seed: dict) -> int:
    """Adds the users, and the tickets where there are none yet; the number of both."""
    added = 0
    with database.opened(path) as db:
        for user in seed["users"]:
            if db.execute("SELECT 1 FROM users WHERE email = ?", (user["email"].lower(),)).fetchone() is None:
                accounts.add_user(db, **user)
                added += 1
        if db.execute("SELECT 1 FROM tickets").fetchone() is None:
            for ticket in seed["tickets"]:
                author = db.execute("SELECT id FROM users WHERE email = ?", (ticket["from"].lower(),)).fetchone()
                tickets.create(db, author["id"], ticket)
                added += 1
    return added


if __name__ == "__main__":
    database.migrate(settings.DATABASE)
    print(f"{settings.DATABASE}: {fill(settings.DATABASE, json.loads(SEED.read_text()))} records added")
