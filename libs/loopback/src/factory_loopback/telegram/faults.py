"""Faults on demand: the next calls of a method fail as Telegram or the network between would let them fail."""

import math
import time
from dataclasses import dataclass, replace

WORDS = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden: bot was blocked by the user",
    409: "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running",
    429: "Too Many Requests: retry after {retry_after}",
    500: "Internal Server Error",
    502: "Bad Gateway",
    504: "Gateway Timeout",
}


@dataclass
class Fault:
    """What goes wrong with the next `times` calls of `method` (`*`: of any method); `times` None: until cleared."""

    method: str = "*"
    status: int = 502
    retry_after: int | None = None  # seconds, in `parameters` of a 429
    times: int | None = 1
    chat_id: int | None = None  # this chat's calls only
    description: str = ""
    acts: bool = False  # the call is carried out, and then answered with the fault: an unclear error
    drop: bool = False  # the connection breaks instead of an answer
    html: bool = False  # the answer is a proxy's HTML page, not JSON
    delay: float = 0.0  # seconds before anything happens
    lasts: float | None = None  # seconds from now on, for any number of calls; a 429 says how many are left
    until: float = math.inf  # on the monotonic clock; set where it lasts

    @property
    def words(self) -> str:
        words = self.description or WORDS.get(self.status, "Error")
        return words.format(retry_after=self.retry_after)


class Faults:
    """The faults that wait for their calls, oldest first."""

    def __init__(self) -> None:
        self.waiting: list[Fault] = []

    def add(self, fault: Fault) -> Fault:
        if fault.lasts is not None:
            fault.times, fault.until = None, time.monotonic() + fault.lasts
        elif fault.status == 429 and fault.retry_after is None:
            fault.retry_after = 1
        self.waiting.append(fault)
        return fault

    def take(self, method: str, chat_id: int | str | None) -> Fault | None:
        """The fault that this call meets, counted down."""
        self.waiting = [fault for fault in self.waiting if time.monotonic() < fault.until]
        for fault in self.waiting:
            if fault.method not in ("*", method) or fault.chat_id not in (None, chat_id):
                continue
            if fault.times is not None:
                fault.times -= 1
                if fault.times <= 0:
                    self.waiting.remove(fault)
            if fault.lasts is not None and fault.status == 429:
                return replace(fault, retry_after=math.ceil(fault.until - time.monotonic()))
            return fault
        return None
