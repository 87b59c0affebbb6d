"""What the planner reads of a repo, from the trusted mirror: paths, and the texts of files that are small enough."""

from __future__ import annotations

from factory_forge.git import Mirror

MAX_READ = 300  # files
MAX_BYTES = 48_000  # of one file
SKIP = ("node_modules/", "vendor/", "third_party/", "dist/", ".git/")


async def texts(mirror: Mirror, sha: str) -> dict[str, str]:
    """Path → text; '' for what is binary, big, or past the bound."""
    found: dict[str, str] = {}
    read = 0
    for entry in await mirror.files(sha):
        if entry.path.startswith(SKIP):
            continue
        body = b""
        if entry.is_file and entry.size <= MAX_BYTES and read < MAX_READ:
            body, read = await mirror.read(sha, entry.path, MAX_BYTES), read + 1
        found[entry.path] = "" if b"\0" in body else body.decode(errors="replace")
    return found
