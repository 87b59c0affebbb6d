"""Reviewer's settings."""

from factory_chassis.settings import Settings as Base


class Settings(Base):
    """Nothing beyond what every service has."""
