"""Knows what a sandbox is called: the data by which any process of the node finds it."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from .errors import Refused

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


@dataclass(frozen=True)
class Handle:
    """One placement's sandbox; plain data, fit for a jsonb column."""

    provider: str
    node: str
    job_id: str
    placement: int
    socket: str  # where the server's Unix socket lies, in the node's directory

    def __post_init__(self) -> None:
        check_name("job id", self.job_id)
        check_name("node", self.node)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Raises Refused (`bad-handle`) where a field is missing or unknown."""
        try:
            return cls(**data)
        except TypeError as e:
            raise Refused(f"this is no sandbox handle: {e}", code="bad-handle") from e


def check_name(what: str, name: str) -> None:
    """Names become parts of paths and of host labels, so they hold `[a-z0-9-]` only."""
    if not _NAME.fullmatch(name):
        raise Refused(f"{what} {name!r} is refused: only [a-z0-9-], 63 characters at most", code="bad-name")
