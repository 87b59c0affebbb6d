"""Builder's settings."""

from factory_chassis.settings import Settings as Base
from pydantic import Field


class Settings(Base):
    """`agent_minutes`: what one turn of an agent may take."""

    agent_minutes: float = Field(default=40, gt=0, le=55)
