"""The chat of a replay: what would be sent or edited is kept in the replay's records, and nobody is told."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from factory_jobs import current
from factory_jobs.records import Records
from factory_telegram.words import Wanted


class RecordingChat:
    """Stands where `chat.Chat` does. Its messages have numbers below 0, which no chat gives."""

    def __init__(self, records: Records) -> None:
        self.records = records

    async def show(self, chat: int, message_id: int | None, wanted: Wanted, *, reply_to: int | None) -> int:
        return await self._keep(chat, message_id, wanted, {})

    async def film(self, chat: int, wanted: Wanted, file: Path, facts: dict[str, Any], *, reply_to: int | None) -> int:
        return await self._keep(chat, None, wanted, {"video": file.name})

    async def _keep(self, chat: int, message_id: int | None, wanted: Wanted, facts: dict[str, Any]) -> int:
        job_id = current.job_id.get()
        kept = await self.records.recorded(job_id, f"message:{chat}:")
        taken = {m["message_id"] for m in kept.values()}
        number = message_id or next(n for n in itertools.count(-1, -1) if n not in taken)
        said = {"message_id": number, "text": wanted.text, "buttons": [b.label for b in wanted.buttons], **facts}
        await self.records.record(job_id, f"message:{chat}:{wanted.kind}", said)
        return number
