"""Console's settings."""

from factory_chassis.settings import Settings as Base
from pydantic import Field


class Settings(Base):
    """`console_port`: where its pages are; 0: any free port."""

    console_port: int = Field(default=8080, ge=0, le=65535)
