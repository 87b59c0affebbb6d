"""Which forge a repository lives on, and with whose credentials it is reached: one `Forges` a service."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from .errors import UnknownForge
from .forge import Forge
from .git import Mirror, mirror_of
from .local import LocalForge

AUTHOR, REVIEWER = "software-factory", "software-factory-reviewer"


class Forges:
    """Forges by repository, under the factory's or the reviewer's identity; and the mirrors, which fetch as the factory."""

    def __init__(self, public_url: str) -> None:
        """`public_url` is console's: the pages of the local forge lie there."""
        self.public_url = public_url

    @classmethod
    def of(cls, settings: Any) -> Forges:
        """By a service's settings (`factory_chassis.settings.Settings`, which this member does not import)."""
        return cls(settings.public_url)

    async def connect(self, repo: str, *, reviewer: bool = False) -> Forge:
        """Raises UnknownForge."""
        if path := local_path(repo):
            return LocalForge(path, REVIEWER if reviewer else AUTHOR, self.public_url)
        raise UnknownForge(url=repo, reason="only repositories on this machine are served yet (a path or file://)")

    async def mirror(self, node_dir: Path, repo: str) -> Mirror:
        """The node's trusted mirror of `repo`. Raises BadRepoUrl, OtherUrl."""
        return await mirror_of(node_dir / "mirrors", repo)


def local_path(repo: str) -> Path | None:
    if repo.startswith("file://"):
        return Path(repo.removeprefix("file://"))
    if repo.startswith("/") or not re.match(r"^[\w.+-]+(@|://|:)", repo):
        return Path(repo)
    return None
