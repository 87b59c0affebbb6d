"""The primary rate limit: so many requests an hour for each identity, told in the headers of every answer.

https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api
"""

import time
from dataclasses import dataclass

from .refusals import Refusal

LIMIT = 5000  # requests in a window
WINDOW = 3600  # seconds
ANONYMOUS = 60


@dataclass
class Window:
    """What is left to one identity until `reset` (Unix time)."""

    limit: int
    used: int
    reset: int

    def headers(self, resource: str) -> dict[str, str]:
        return {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(max(self.limit - self.used, 0)),
            "X-RateLimit-Used": str(self.used),
            "X-RateLimit-Reset": str(self.reset),
            "X-RateLimit-Resource": resource,
        }


class Rates:
    """A window for each login and resource (`core`, `graphql`)."""

    def __init__(self) -> None:
        self._windows: dict[tuple[str, str], Window] = {}

    def window(self, login: str, resource: str = "core") -> Window:
        found = self._windows.get((login, resource))
        if found is None or found.reset <= time.time():
            limit = LIMIT if login else ANONYMOUS
            found = self._windows[login, resource] = Window(limit, 0, int(time.time()) + WINDOW)
        return found

    def set(self, login: str, remaining: int, seconds: int, resource: str = "core") -> None:
        """So many requests are left to `login`, for so many seconds."""
        self._windows[login, resource] = Window(LIMIT, LIMIT - remaining, int(time.time()) + seconds)

    def take(self, login: str, resource: str = "core") -> None:
        """Counts a request. Raises Refusal (403) where none is left."""
        window = self.window(login, resource)
        if window.used >= window.limit:
            raise exceeded(login, window)
        window.used += 1

    def give_back(self, login: str, resource: str = "core") -> None:
        """A 304 costs nothing."""
        self.window(login, resource).used -= 1


def exceeded(login: str, window: Window) -> Refusal:
    whose = f"user ID {login}" if login else "your address"
    return Refusal(403, f"API rate limit exceeded for {whose}.", headers=window.headers("core"))


def secondary(seconds: int) -> Refusal:
    """The limit against too much at once; its answer says how long to wait."""
    words = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."
    return Refusal(403, words, headers={"Retry-After": str(seconds)})


def spent(seconds: int) -> Window:
    """A window with nothing left in it."""
    return Window(LIMIT, LIMIT, int(time.time()) + seconds)
