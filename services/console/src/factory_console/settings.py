"""Console's settings."""

from factory_chassis.settings import Settings as Base
from pydantic import Field


class Settings(Base):
    """`console_host`, `console_port`: where its pages are (port 0: any free one). It asks for no login."""

    console_host: str = "127.0.0.1"
    console_port: int = Field(default=8080, ge=0, le=65535)
