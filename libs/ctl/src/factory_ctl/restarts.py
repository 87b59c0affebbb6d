"""When what has died may start again: almost at once, and later each time as long as it dies young."""

from __future__ import annotations

import time

FIRST, LONGEST = 0.2, 10.0  # seconds
YOUNG = 10.0  # seconds: what lived longer did not die of its start


class Again:
    """Of one process. `ended` says once how long to wait, `due` when that is over, `started` begins its next life."""

    def __init__(self) -> None:
        self._pause = FIRST / 2
        self._due: float | None = None
        self.started()

    def started(self) -> None:
        self._since, self._due = time.monotonic(), None

    def ended(self) -> float | None:
        """Seconds until it may start again; None where that was said of this end."""
        if self._due is not None:
            return None
        now = time.monotonic()
        self._pause = min(2 * self._pause, LONGEST) if now - self._since < YOUNG else FIRST
        self._due = now + self._pause
        return self._pause

    def due(self) -> bool:
        return self._due is not None and time.monotonic() >= self._due
