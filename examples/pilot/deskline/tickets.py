"""Tickets and their messages: what is a valid one, how they are kept, in which order they are listed."""

import sqlite3

SUBJECT_LIMIT = 120
TEXT_LIMIT = 4000


class Invalid(ValueError):
    """A ticket or message that cannot be kept; says to the person why."""


def text_field(data: dict, key: str, limit: int, *, optional: bool = False) -> str:
    """The text under `key` without its outer blanks; raises Invalid where it is too long, or missing and not optional."""
    value = data.get(key, "")
    if not isinstance(value, str) or not (value.strip() or optional):
        raise Invalid(f"Please fill in the {key}.")
    if len(value.strip()) > limit:
        raise Invalid(f"The {key} is longer than {limit} characters.")
    return value.strip()


def create(db: sqlite3.Connection, author_id: int, data: dict) -> int:
    """Keeps a new ticket, puts it before the worker, and returns its number."""
    subject = text_field(data, "subject", SUBJECT_LIMIT)
    body = text_field(data, "description", TEXT_LIMIT, optional=True)
    number = db.execute(
        "INSERT INTO tickets (subject, body, author_id) VALUES (?, ?, ?)",
        (subject, body, author_id),
    ).lastrowid
    db.execute("INSERT INTO unanswered VALUES (?)", (number,))
    return number


def listed(db: sqlite3.Connection) -> list[dict]:
    """All tickets: open ones first, the newest on top."""
    rows = db.execute(
        "SELECT tickets.*, users.name AS author FROM tickets JOIN users ON users.id = author_id"
        " ORDER BY closed, tickets.id DESC"
    )
    return [_as_json(row) for row in rows]


def one(db: sqlite3.Connection, number: int) -> dict | None:
    """The ticket with its messages, the oldest first."""
    row = db.execute(
        "SELECT tickets.*, users.name AS author FROM tickets JOIN users ON users.id = author_id WHERE tickets.id = ?",
        (number,),
    ).fetchone()
    if row is None:
        return None
    messages = db.execute("SELECT author, body, created_at FROM messages WHERE ticket_id = ? ORDER BY id", (number,))
    return _as_json(row) | {"messages": [dict(message) for message in messages]}


def reply(db: sqlite3.Connection, number: int, author: str, body: str) -> None:
    db.execute("INSERT INTO messages (ticket_id, author, body) VALUES (?, ?, ?)", (number, author, body))


def close(db: sqlite3.Connection, number: int) -> None:
    db.execute("UPDATE tickets SET closed = 1 WHERE id = ?", (number,))


def _as_json(row: sqlite3.Row) -> dict:
    fields = {key: row[key] for key in ("id", "subject", "body", "author", "created_at")}
    return fields | {"closed": bool(row["closed"])}
