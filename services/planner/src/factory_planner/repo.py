"""What the planner reads of a repo, from the trusted mirror: paths, and the texts of files that are small enough."""

from __future__ import annotations

import re

from factory_forge.git import Mirror

MAX_READ = 300  # files
MAX_BYTES = 48_000  # of one file
SKIP = re.compile(r"^(vendor|third_party|dist)/|(^|/)node_modules/")
# Listed and not read, so that the bound is spent on what people write.
UNREAD = re.compile(
    r"\.(png|jpe?g|gif|webp|ico|svg|woff2?|ttf|otf|pdf|mp[34]|zip|gz|map|snap|csv|lock|sum)$|\.min\.(js|css)$|"
    r"(^|/)(package-lock\.json|pnpm-lock\.yaml)$",
    re.I,
)


async def texts(mirror: Mirror, sha: str) -> dict[str, str]:
    """Path → text; '' for what is binary, big, or past the bound."""
    found: dict[str, str] = {}
    read = 0
    for entry in await mirror.files(sha):
        if SKIP.search(entry.path):
            continue
        body = b""
        if entry.is_file and entry.size <= MAX_BYTES and read < MAX_READ and not UNREAD.search(entry.path):
            body, read = await mirror.read(sha, entry.path, MAX_BYTES), read + 1
        found[entry.path] = "" if b"\0" in body else body.decode(errors="replace")
    return found
