"""When something that failed may be tried again: a little later each time, until it works."""

from __future__ import annotations

import time
from collections.abc import Hashable

FIRST, LONGEST = 2.0, 60.0  # seconds


class Patience:
    """For chats that do not take a message, and for jobs whose message cannot be made."""

    def __init__(self) -> None:
        self._delays: dict[Hashable, float] = {}
        self._until: dict[Hashable, float] = {}

    def due(self, what: Hashable) -> bool:
        return time.monotonic() >= self._until.get(what, 0.0)

    def failed(self, what: Hashable, seconds: float | None = None) -> None:
        """Not before `seconds`, where somebody has said so; else after twice as long as the last time."""
        if seconds is None:
            seconds = min(self._delays.get(what, FIRST / 2) * 2, LONGEST)
            self._delays[what] = seconds
        self._until[what] = time.monotonic() + seconds

    def worked(self, what: Hashable) -> None:
        self._delays.pop(what, None)
        self._until.pop(what, None)
