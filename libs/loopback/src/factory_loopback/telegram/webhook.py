"""Updates that are sent to the bot instead of being asked for: one after another, until each is answered with 2xx.

https://core.telegram.org/bots/api#setwebhook. Telegram wants HTTPS; here HTTP is taken too, on this machine alone.
"""

import asyncio
import re
import time
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from factory_loopback.errors import BotApiError
from factory_loopback.journal import Journal

from .updates import Updates

Wire = dict[str, Any]

SECRET_HEADER = "X-Telegram-Bot-Api-Secret-Token"
HERE = frozenset({"127.0.0.1", "localhost", "::1"})
PORTS = frozenset({443, 80, 88, 8443})
PAUSES = (0.2, 0.5, 1.0, 2.0, 5.0)  # seconds before an update is sent again, as long as it is refused
PATIENCE = 30.0  # seconds for an answer


@dataclass
class Hook:
    """Where updates go; no `url`: nowhere, they are asked for."""

    url: str = ""
    secret: str = ""
    connections: int = 40
    allowed: list[str] = field(default_factory=list)
    error: str = ""
    error_at: int = 0  # Unix time


class Webhook:
    """The bot's one webhook; `violations` are answers that Telegram would act on and that nobody acts on here."""

    def __init__(self, updates: Updates, journal: Journal) -> None:
        self._updates, self._journal = updates, journal
        self.hook = Hook(**journal.records.get("webhook", {}))
        self.violations: list[str] = []
        self._set = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    # ── what the bot asks for ─────────────────────────────────────────────────

    def set(self, url: str, secret: str, connections: int, allowed: list[str] | None) -> None:
        """Raises BotApiError (400) for a URL or a secret that Telegram would not take."""
        if url:
            _check(url)
        if not re.fullmatch(r"[A-Za-z0-9_-]{0,256}", secret):
            raise BotApiError(400, "Bad Request: secret token contains unallowed characters")
        if allowed is not None:
            self._updates.allow(allowed)
        self.hook = Hook(url, secret, min(max(connections, 1), 100), self._updates.allowed)
        self._keep()
        if url:
            self._updates.stop_polls()
        changed, self._set = self._set, asyncio.Event()
        changed.set()

    def info(self) -> Wire:
        """A WebhookInfo."""
        hook = self.hook
        told: Wire = {
            "url": hook.url,
            "has_custom_certificate": False,
            "pending_update_count": len(self._updates.waiting),
        }
        if hook.url:
            told |= {"max_connections": hook.connections}
        if hook.allowed:
            told |= {"allowed_updates": hook.allowed}
        if hook.error:
            told |= {"last_error_date": hook.error_at, "last_error_message": hook.error}
        return told

    # ── deliveries ────────────────────────────────────────────────────────────

    def start(self) -> None:
        self._running = asyncio.create_task(self._run())

    async def stop(self) -> None:
        if self._running:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    async def _run(self) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE)) as session:
            refused = 0
            while True:
                changed = self._set
                if not self.hook.url or not self._updates.waiting:
                    await self._either(changed.wait(), self._updates.news())
                    continue
                number = min(self._updates.waiting)
                if await self._delivered(session, self._updates.waiting[number]):
                    self._updates.confirm(number + 1)
                    refused = 0
                else:
                    await self._either(changed.wait(), asyncio.sleep(PAUSES[min(refused, len(PAUSES) - 1)]))
                    refused += 1

    @staticmethod
    async def _either(*waits: Any) -> None:
        tasks = [asyncio.ensure_future(wait) for wait in waits]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()

    async def _delivered(self, session: aiohttp.ClientSession, update: Wire) -> bool:
        hook = self.hook
        headers = {SECRET_HEADER: hook.secret} if hook.secret else {}
        try:
            async with session.post(hook.url, json=update, headers=headers, allow_redirects=False) as answer:
                body = await answer.read()
                why = (
                    ""
                    if 200 <= answer.status < 300
                    else f"Wrong response from the webhook: {answer.status} {answer.reason}"
                )
        except TimeoutError:
            body, why = b"", "Read timeout expired"
        except aiohttp.ClientError as error:
            body, why = b"", f"Connection failed: {error}"
        if not why and b'"method"' in body:
            self.violations.append("a method in the answer of a webhook is not built")
        if why and hook is self.hook:
            hook.error, hook.error_at = why, int(time.time())
            self._keep()
        return not why

    def _keep(self) -> None:
        self._journal.put("webhook", asdict(self.hook))


def _check(url: str) -> None:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise BotApiError(400, "Bad Request: bad webhook: invalid webhook URL specified") from None
    if parts.hostname in HERE and parts.scheme in ("http", "https"):
        return
    if parts.scheme != "https" or not parts.hostname:
        raise BotApiError(400, "Bad Request: bad webhook: An HTTPS URL must be provided for webhook")
    if (port or 443) not in PORTS:
        raise BotApiError(400, "Bad Request: bad webhook: Webhook can be set up only on ports 80, 88, 443 or 8443")
