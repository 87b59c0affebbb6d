"""One interface to a computer-like place for a job, and the small server inside it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .providers import Provider


def provider(name: str) -> "Provider":
    """The provider of this name. Raises SandboxError (`no-provider`)."""
    from .errors import SandboxError
    from .local import Local

    if name == "local":
        return Local()
    raise SandboxError(f"there is no provider {name!r}; known: local", code="no-provider")
