"""Wires reviewer together."""

from factory_chassis.service import Service
from factory_jobs.machine import Role

from .handlers import Handlers
from .settings import Settings


def build_app(settings: Settings) -> Service:
    return Service("reviewer", settings, role=Role.REVIEWER, handlers=Handlers(settings).by_state())
