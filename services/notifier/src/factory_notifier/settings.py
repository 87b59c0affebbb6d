"""Notifier's settings."""

from factory_chassis.settings import Settings as Base
from pydantic import Field


class Settings(Base):
    """`edit_every`: seconds between two edits of one message; Telegram counts edits too."""

    edit_every: float = Field(default=3, ge=0)
