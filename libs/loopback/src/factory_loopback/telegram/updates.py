"""The bot's queue of updates: kept until an offset confirms them, handed out by long poll to one poller at a time."""

import asyncio
from typing import Any

from factory_loopback.errors import BotApiError
from factory_loopback.journal import Journal

Wire = dict[str, Any]

# Kinds that a bot gets only when it asks for them by name (https://core.telegram.org/bots/api#getupdates).
ON_REQUEST = frozenset({"chat_member", "message_reaction", "message_reaction_count"})
CONFLICT = "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running"


class Updates:
    """The queue; `allowed` is remembered from the last getUpdates that named it, as Telegram does."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.waiting: dict[int, Wire] = {int(key): body for key, body in journal.under("update:").items()}
        settings = journal.records.get("updates", {})
        self._next: int = max([settings.get("next", 700_000_001), *(n + 1 for n in self.waiting)])
        self._allowed: list[str] = settings.get("allowed", [])
        self._poll = 0  # number of the newest poll; an older one that still waits is in conflict
        self._news = asyncio.Event()

    def put(self, kind: str, body: Wire) -> int | None:
        """Queues an update of this kind; None where the bot has not asked for such."""
        wanted = kind in self._allowed if self._allowed else kind not in ON_REQUEST
        if not wanted:
            return None
        number, self._next = self._next, self._next + 1
        self.waiting[number] = {"update_id": number, kind: body}
        self._journal.put(f"update:{number}", self.waiting[number])
        self._save()
        self._wake()
        return number

    async def get(self, offset: int, limit: int, timeout: float, allowed: list[str] | None) -> list[Wire]:
        """Unconfirmed updates, oldest first, after at most `timeout` seconds; raises 409 when a newer poll came.

        Telegram ends the *older* of two polls, so that two pollers that go on take turns in failing.
        """
        self._poll += 1
        mine = self._poll
        self._wake()
        if allowed is not None:
            self.allow(allowed)
        self.confirm(offset)
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        while True:
            if self._poll != mine:
                raise BotApiError(409, CONFLICT)
            left = end - loop.time()
            if self.waiting or left <= 0:
                return [self.waiting[n] for n in sorted(self.waiting)[:limit]]
            try:
                await asyncio.wait_for(self._news.wait(), left)
            except TimeoutError:
                continue

    @property
    def allowed(self) -> list[str]:
        """The kinds that the bot has asked for; empty: all but those of ON_REQUEST."""
        return self._allowed

    def allow(self, allowed: list[str]) -> None:
        if allowed != self._allowed:
            self._allowed = allowed
            self._save()

    async def news(self) -> None:
        """Returns when there is something new."""
        await self._news.wait()

    def drop(self) -> None:
        """Forgets everything that waits (`drop_pending_updates`)."""
        self.confirm(self._next)

    def stop_polls(self) -> None:
        """Ends the poll that waits: the server stops, or a webhook takes its place."""
        self._poll += 1
        self._wake()

    def confirm(self, offset: int) -> None:
        if offset < 0:  # the last -offset ones are wanted, all before them are forgotten
            offset = ([0, *sorted(self.waiting)])[offset:][0]
        for number in [n for n in self.waiting if n < offset]:
            del self.waiting[number]
            self._journal.put(f"update:{number}", None)

    def _save(self) -> None:
        self._journal.put("updates", {"next": self._next, "allowed": self._allowed})

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()
