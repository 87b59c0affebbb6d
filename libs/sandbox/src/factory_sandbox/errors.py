"""Knows what can go wrong between a caller and a sandbox, each with a code that never changes."""

from typing import Self


class SandboxError(Exception):
    """What happened, where, and what to do next; `code` is the stable word for it.

    SandboxError
    ├── SandboxLost   the server does not answer: the place is gone, or a server died
    ├── Fenced        somebody holds a higher lease epoch: stop, what you spawned is ended
    └── Refused       this call is not served as it was asked: bad path, bad hello, no such command …

    Codes of SandboxError itself: `processes-left`, `files-left`, `server-failed`, `not-started`, `no-record`, `busy`,
    `no-provider`, `bad-record`, `bad-node-key`, `bad-alias`.
    """

    code = "sandbox-error"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code

    def as_dict(self) -> dict[str, str]:
        """The error as it travels in a frame."""
        return {"kind": type(self).__name__, "code": self.code, "message": self.message}

    @staticmethod
    def from_dict(data: dict[str, str]) -> "SandboxError":
        """The error that the other side named; an unknown kind is a plain SandboxError."""
        kind = _KINDS.get(data.get("kind", ""), SandboxError)
        return kind(data.get("message", "the server gave no reason"), code=data.get("code"))


class SandboxLost(SandboxError):
    """The sandbox SOCKET does not answer: WHY."""

    code = "sandbox-lost"


class Fenced(SandboxError):
    """Epoch N is over, M is in force: another holder took the job."""

    code = "fenced"

    @classmethod
    def by(cls, mine: int, theirs: int) -> Self:
        return cls(f"epoch {mine} is over, {theirs} is in force: another holder took the job")


class Refused(SandboxError):
    """WHAT is refused: WHY."""

    code = "refused"


_KINDS: dict[str, type[SandboxError]] = {kind.__name__: kind for kind in (SandboxError, SandboxLost, Fenced, Refused)}
