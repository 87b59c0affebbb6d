"""`factoryctl audit`: what is written down, compared with itself, with the outside and with the machine."""

from .auditor import audit
from .finding import HINTS, Finding

__all__ = ["HINTS", "Finding", "audit"]
