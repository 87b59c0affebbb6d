"""Envkeeper's settings."""

from __future__ import annotations

import re

from factory_chassis.settings import Settings as Base
from pydantic import Field, field_validator

from .ports import SIZE


class Settings(Base):
    """`port_range`: what this node's sandboxes may use; `node_jobs`: how many jobs may work on it at once."""

    port_range: str = "46200-47999"
    node_jobs: int = Field(default=4, ge=1)

    @field_validator("port_range")
    @classmethod
    def _range(cls, value: str) -> str:
        match = re.fullmatch(r"(\d+)-(\d+)", value)
        if not match or not 1024 <= int(match[1]) < int(match[2]) <= 65535:
            raise ValueError("not a range of ports such as 46200-47999")
        if int(match[2]) - int(match[1]) + 1 < SIZE:
            raise ValueError(f"{value} holds fewer than the {SIZE} ports that one job gets")
        return value

    @property
    def ports(self) -> tuple[int, int]:
        low, high = self.port_range.split("-")
        return int(low), int(high)
