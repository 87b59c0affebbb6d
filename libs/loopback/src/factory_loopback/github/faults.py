"""Faults on demand: the next requests to an address fail as GitHub or the network between would let them fail."""

import re
from dataclasses import dataclass
from typing import Any

from factory_loopback.errors import BadSetup

BEFORE = ("502", "timeout", "drop", "secondary", "primary")  # nothing was done
AFTER = ("502-after", "timeout-after", "drop-after")  # it was done, and the answer is lost
WHAT = BEFORE + AFTER


@dataclass
class Fault:
    """What goes wrong with the next `times` requests that fit; `times` None: until cleared.

    `path` is an address below /api/v3 (or /graphql, or git's own): `*` stands for one part of it, `**` for any.
    A fault that strikes after success waits for one: a request that GitHub refuses gets that answer.
    """

    what: str
    method: str = "*"
    path: str = "**"
    times: int | None = 1
    seconds: int = 1  # to wait: Retry-After of the secondary limit, until the reset of the primary one

    def __post_init__(self) -> None:
        if self.what not in WHAT:
            raise BadSetup(f"There is no fault {self.what!r} (there are: {', '.join(WHAT)}).")

    def fits(self, method: str, path: str) -> bool:
        pattern = re.escape(self.path).replace(r"\*\*", ".*").replace(r"\*", "[^/]*")
        return self.method in ("*", method) and re.fullmatch(pattern, path) is not None


class Faults:
    """The faults that wait for their requests, oldest first."""

    def __init__(self) -> None:
        self.waiting: list[Fault] = []

    def add(self, fault: Fault) -> Fault:
        self.waiting.append(fault)
        return fault

    def find(self, method: str, path: str) -> Fault | None:
        return next((fault for fault in self.waiting if fault.fits(method, path)), None)

    def strike(self, fault: Fault) -> None:
        """Counts it down."""
        if fault.times is not None:
            fault.times -= 1
            if fault.times <= 0 and fault in self.waiting:
                self.waiting.remove(fault)


def fault_of(described: dict[str, Any]) -> Fault:
    """Raises BadSetup for what describes none."""
    try:
        return Fault(**described)
    except TypeError as error:
        raise BadSetup(f"That is no fault: {error}") from error
