"""Envkeeper's settings."""

from __future__ import annotations

import re

from factory_chassis.settings import Settings as Base
from pydantic import Field, ValidationInfo, field_validator

from .ports import SIZE, parse


class Settings(Base):
    """`port_range`: what this node's sandboxes may use, `job_ports` of it each; `node_jobs`: how many jobs may work at once.

    `preview_range`: as many ports on every address, by which people reach those of `port_range` one by one. In a
    container only; elsewhere an app's own listener is its preview.
    """

    job_ports: int = Field(default=SIZE, ge=1, le=1000)
    port_range: str = "46200-47999"
    preview_range: str = ""
    node_jobs: int = Field(default=4, ge=1)

    @field_validator("port_range", "preview_range")
    @classmethod
    def _range(cls, value: str, info: ValidationInfo) -> str:
        match = re.fullmatch(r"(\d+)-(\d+)", value)
        if not match or not 1024 <= int(match[1]) < int(match[2]) <= 65535:
            raise ValueError("not a range of ports such as 46200-47999")
        size = info.data.get("job_ports", 1)
        if int(match[2]) - int(match[1]) + 1 < size:
            raise ValueError(f"{value} holds fewer than the {size} ports that one job gets")
        return value

    @field_validator("preview_range")
    @classmethod
    def _twins(cls, value: str, info: ValidationInfo) -> str:
        if (ports := info.data.get("port_range")) is not None:
            (low, high), (twin_low, twin_high) = parse(ports), parse(value)
            if high - low != twin_high - twin_low or (low <= twin_high and twin_low <= high):
                raise ValueError(f"{value} is not a range of its own as long as FACTORY_PORT_RANGE, {ports}")
        return value

    @property
    def ports(self) -> tuple[int, int]:
        return parse(self.port_range)

    @property
    def previews(self) -> tuple[int, int] | None:
        return parse(self.preview_range) if self.preview_range else None
