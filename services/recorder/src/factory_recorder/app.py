"""Wires recorder together."""

from factory_chassis.service import Service
from factory_jobs.machine import Role

from .handlers import Handlers
from .settings import Settings


def build_app(settings: Settings) -> Service:
    return Service("recorder", settings, role=Role.RECORDER, handlers=Handlers(settings).by_state())
