"""Where an artifact lies (its key) and how people reach it (its URL)."""

import re
from urllib.parse import quote

from .errors import BadKey

_PARTS = {
    "job": re.compile(r"j[a-z2-7]{10}"),
    "commit": re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}|none"),
    "epoch": re.compile(r"[0-9]{1,10}"),
    "kind": re.compile(r"[a-z][a-z0-9-]{1,31}"),
    "name": re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,119}"),
    "sha256": re.compile(r"[0-9a-f]{64}"),
}


def key(job_id: str, commit: str, epoch: int, kind: str, name: str) -> str:
    """`jobs/<job>/<commit>/<epoch>/<kind>/<name>`.

    `commit` is the full hash that the artifact is evidence of (the base's for what happened before a change, `none`
    before the base was looked up), `epoch` the lease under which it was made, so that a fenced worker's upload never
    replaces its successor's.

    Raises BadKey where a part could name another object (`..`, `/`, spaces, more than 120 characters …).
    """
    return "/".join(
        (
            "jobs",
            _part("job", job_id),
            _part("commit", commit),
            _part("epoch", str(epoch)),
            _part("kind", kind),
            _part("name", name),
        )
    )


def url(public_url: str, job_id: str, sha256: str, name: str) -> str:
    """`<public>/a/<job>/<sha256>/<name>`: made when something is rendered, answered by console, never stored.

    Raises BadKey as `key` does.
    """
    parts = (_part("job", job_id), _part("sha256", sha256), quote(_part("name", name)))
    return f"{public_url.rstrip('/')}/a/{'/'.join(parts)}"


def _part(part: str, value: str) -> str:
    pattern = _PARTS[part]
    if not pattern.fullmatch(value):
        raise BadKey(part=part, value=value[:200], pattern=pattern.pattern)
    return value
