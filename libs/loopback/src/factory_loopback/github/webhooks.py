"""Messages to webhooks: signed over their exact text, sent in the background, once; GitHub tries none again by itself.

https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
"""

import asyncio
import hashlib
import hmac
import json
import uuid
from typing import Any

import aiohttp

from .records import Delivery, Hook
from .refusals import not_found
from .store import Store

PATIENCE = 10  # seconds until GitHub gives up an answer
EVERYTHING = "*"


class Webhooks:
    """Sends to the hooks of a repository, and remembers each delivery."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._under_way: set[asyncio.Task[None]] = set()

    def tell(self, repo: str, event: str, payload: dict[str, Any]) -> None:
        """To every active hook that hears of this event."""
        for hook in self._store.hooks.of(repo, active=True):
            if event == "ping" or EVERYTHING in hook.events or event in hook.events:
                text = json.dumps(payload, ensure_ascii=False)
                guid, action = str(uuid.uuid4()), str(payload.get("action", ""))
                delivery = Delivery(self._store.next_id(), repo, hook.id, guid, event, action, text)
                self._start(hook, self._store.deliveries.put(delivery))

    def redeliver(self, delivery_id: int) -> Delivery:
        """Sends the same message again, under the same guid."""
        old = self._store.deliveries.get(delivery_id)
        hook = self._store.hooks.get(old.hook) if old else None
        if old is None or hook is None:
            raise not_found()
        new = Delivery(
            self._store.next_id(), old.repo, old.hook, old.guid, old.event, old.action, old.payload, again=True
        )
        self._start(hook, self._store.deliveries.put(new))
        return new

    async def sent(self) -> None:
        """Waits until nothing is under way."""
        while self._under_way:
            await asyncio.gather(*self._under_way, return_exceptions=True)

    async def stop(self) -> None:
        for task in self._under_way:
            task.cancel()
        await self.sent()

    def _start(self, hook: Hook, delivery: Delivery) -> None:
        task = asyncio.create_task(self._send(hook, delivery))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _send(self, hook: Hook, delivery: Delivery) -> None:
        body = delivery.payload.encode()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "GitHub-Hookshot/loopback",
            "X-GitHub-Event": delivery.event,
            "X-GitHub-Delivery": delivery.guid,
            "X-GitHub-Hook-ID": str(hook.id),
            **({"X-Hub-Signature-256": signature(hook.secret, body)} if hook.secret else {}),
        }
        try:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(PATIENCE)) as session:
                async with session.post(hook.url, data=body, headers=headers) as answer:
                    delivery.status = answer.status
        except (aiohttp.ClientError, TimeoutError):
            delivery.status = 0
        self._store.deliveries.put(delivery)


def signature(secret: str, body: bytes) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
