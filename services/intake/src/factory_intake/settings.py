"""Intake's settings."""

from typing import Annotated

from factory_chassis.settings import Settings as Base
from pydantic import AfterValidator, Field, SecretStr

SHORTEST = 16  # characters of what opens the door


def _long_enough(value: SecretStr) -> SecretStr:
    if len(value.get_secret_value()) < SHORTEST:
        raise ValueError(f"shorter than {SHORTEST} characters; `openssl rand -hex 32` makes one")
    return value


Key = Annotated[SecretStr, AfterValidator(_long_enough)]


class Settings(Base):
    """`poll_timeout`: seconds that one long poll waits. `forge_every`: seconds between two looks at a repository.

    With `api_token` or `github_webhook_secret` there is an HTTP server on `intake_host` and `intake_port` (0: any free
    port, told in the log); without both there is none.
    """

    poll_timeout: int = Field(default=20, ge=0, le=50)
    forge_every: float = Field(default=15, ge=0.1)
    api_token: Key | None = None
    github_webhook_secret: Key | None = None
    intake_host: str = "127.0.0.1"
    intake_port: int = Field(default=0, ge=0, le=65535)
