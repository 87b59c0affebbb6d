"""Intake's settings."""

from factory_chassis.settings import Settings as Base
from pydantic import Field


class Settings(Base):
    """`poll_timeout`: seconds that one long poll waits."""

    poll_timeout: int = Field(default=20, ge=0, le=50)
