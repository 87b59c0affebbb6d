"""The worker: writes the first answer to every new ticket, and beats so that its health can be asked.

`python3 -m deskline.worker` works until SIGTERM; with `--check` it says whether another one is alive.
"""

import signal
import sqlite3
import sys
import threading
import time
from pathlib import Path

from deskline import database, settings, tickets

PROGRAM = "worker"
PAUSE_SECONDS = 0.3
DEAD_AFTER_SECONDS = 5


def first_answer(author: str, number: int) -> str:
    return f"Hello {author.split()[0]}, we have your ticket #{number} and will look at it today."


def answer_next(db: sqlite3.Connection) -> int | None:
    """Answers the oldest ticket that waits; its number, or None where nothing does."""
    row = db.execute("DELETE FROM unanswered WHERE ticket_id = (SELECT min(ticket_id) FROM unanswered) RETURNING *").fetchone()
    if row is None:
        return None
    number = row["ticket_id"]
    ticket = tickets.one(db, number)
    tickets.reply(db, number, settings.NAME, first_answer(ticket["author"], number))
    return number


def beat(db: sqlite3.Connection) -> None:
    db.execute("INSERT OR REPLACE INTO heartbeats VALUES (?, ?)", (PROGRAM, time.time()))


def alive(db: sqlite3.Connection) -> bool:
    row = db.execute("SELECT beat_at FROM heartbeats WHERE program = ?", (PROGRAM,)).fetchone()
    return row is not None and time.time() - row["beat_at"] < DEAD_AFTER_SECONDS


def work(path: Path, stop: threading.Event) -> None:
    """Answers and beats until `stop`; takes its heartbeat away when it goes."""
    while not stop.is_set():
        with database.opened(path) as db:
            beat(db)
            number = answer_next(db)
        if number is None:
            stop.wait(PAUSE_SECONDS)
        else:
            print(f"answered ticket {number}", flush=True)
    with database.opened(path) as db:
        db.execute("DELETE FROM heartbeats WHERE program = ?", (PROGRAM,))


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        with database.opened(settings.DATABASE) as db:
            sys.exit(0 if alive(db) else "no heartbeat of the worker")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    print("worker is ready", flush=True)
    work(settings.DATABASE, stop)
