"""Which forge a repository lives on. GitHub comes in here, behind the same interface."""

from __future__ import annotations

import re
from pathlib import Path

from .errors import UnknownForge
from .forge import Forge
from .local import LocalForge

AUTHOR, REVIEWER = "software-factory", "software-factory-reviewer"


async def connect(repo: str, *, public_url: str, reviewer: bool = False) -> Forge:
    """The forge of `repo` under the factory's or the reviewer's identity. Raises UnknownForge."""
    if path := local_path(repo):
        return LocalForge(path, REVIEWER if reviewer else AUTHOR, public_url)
    raise UnknownForge(url=repo, reason="only repositories on this machine are served yet (a path or file://)")


def local_path(repo: str) -> Path | None:
    if repo.startswith("file://"):
        return Path(repo.removeprefix("file://"))
    if repo.startswith("/") or not re.match(r"^[\w.+-]+(@|://|:)", repo):
        return Path(repo)
    return None
