CREATE TABLE users (
    id INTEGER PRIMARY KEY,
    email TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    password TEXT NOT NULL -- scrypt$salt$hash
);

CREATE TABLE sessions (
    token_hash TEXT PRIMARY KEY, -- the cookie's SHA-256: a copy of this file signs nobody in
    user_id INTEGER NOT NULL REFERENCES users (id),
    expires_at REAL NOT NULL
);
