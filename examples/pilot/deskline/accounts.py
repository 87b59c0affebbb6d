"""Who may come in: password hashes, and sessions that a cookie stands for."""

import hashlib
import hmac
import secrets
import sqlite3
import time

SESSION_SECONDS = 12 * 3600


def hash_password(password: str, salt: bytes | None = None) -> str:
    salt = salt or secrets.token_bytes(16)
    digest = hashlib.scrypt(password.encode(), salt=salt, n=2**14, r=8, p=1)
    return f"scrypt${salt.hex()}${digest.hex()}"


def password_matches(password: str, stored: str) -> bool:
    salt = bytes.fromhex(stored.split("$")[1])
    return hmac.compare_digest(hash_password(password, salt), stored)


def add_user(db: sqlite3.Connection, email: str, name: str, password: str) -> int:
    values = (email.lower(), name, hash_password(password))
    return db.execute("INSERT INTO users (email, name, password) VALUES (?, ?, ?) RETURNING id", values).fetchone()[0]


def sign_in(db: sqlite3.Connection, email: str, password: str) -> str | None:
    """The new session's token, or None where e-mail and password do not belong together."""
    user = db.execute("SELECT id, password FROM users WHERE email = ?", (email.strip().lower(),)).fetchone()
    if user is None or not password_matches(password, user["password"]):
        return None
    token = secrets.token_urlsafe(32)
    db.execute("DELETE FROM sessions WHERE expires_at < ?", (time.time(),))
    db.execute("INSERT INTO sessions VALUES (?, ?, ?)", (_hash(token), user["id"], time.time() + SESSION_SECONDS))
    return token


def user_of(db: sqlite3.Connection, token: str) -> sqlite3.Row | None:
    return db.execute(
        "SELECT id, email, name FROM users JOIN sessions ON user_id = id WHERE token_hash = ? AND expires_at > ?",
        (_hash(token), time.time()),
    ).fetchone()


def sign_out(db: sqlite3.Connection, token: str) -> None:
    db.execute("DELETE FROM sessions WHERE token_hash = ?", (_hash(token),))


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
