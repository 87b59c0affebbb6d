"""What is known about a job beside its row: messages, plans, rounds, evidence, artifacts, effects, the ledger."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeVar

import msgspec

from .db import Queries
from .job import Job

T = TypeVar("T")


class Request(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    job_id: str
    source: str
    chat: str | None
    message_id: int | None
    author: str
    text: str
    link: str | None
    read_by: str | None
    at: datetime


class Round(msgspec.Struct, frozen=True, kw_only=True):
    request_no: int
    round: int
    commit: str | None
    parent: str | None
    outcome: str | None
    summary: str | None
    feedback: str | None
    bundle: str | None
    proved: bool
    spent: dict[str, Any]
    at: datetime
    merges: str | None = None  # what else the commit builds on


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    commit: str
    kind: str
    ok: bool
    data: dict[str, Any]
    epoch: int
    request_no: int
    round: int
    at: datetime


class Artifact(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    job_id: str
    commit: str | None
    state: str
    kind: str
    name: str
    key: str
    sha256: str
    size: int
    content_type: str
    epoch: int
    at: datetime


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    intent: Any
    result: Any
    at: datetime


class Message(msgspec.Struct, frozen=True, kw_only=True):
    job_id: str
    chat: str
    kind: str
    message_id: int | None
    shown_seq: int
    text: str
    at: datetime


class ForgeNews(msgspec.Struct, frozen=True, kw_only=True):
    """What the forge said last of a job's pull request: the event's number and what it holds."""

    seq: int
    kind: str  # merged | closed | reopened | person_pushed
    by: str | None = None
    head: str | None = None


class Owned(msgspec.Struct, frozen=True, kw_only=True):
    job_id: str
    placement: int
    node: str
    kind: str
    ref: str
    at: datetime
    state: str
    placed: int | None
    placed_on: str | None
    replay: bool = False  # its job is one

    @property
    def stray(self) -> bool:
        """The job has ended or lives elsewhere: nobody needs it."""
        return self.state in {"merged", "failed", "cancelled"} or (self.placed, self.placed_on) != (
            self.placement,
            self.node,
        )


class Records(Queries):
    """Facts of jobs. Evidence and artifacts are keyed by commit; the newest counts."""

    async def _list(self, of: type[T], query: str, *args: Any) -> list[T]:
        return [msgspec.convert(dict(r), of) for r in await self.all(query, *args)]

    # ── what people said ──────────────────────────────────────────────────────

    async def requests(self, job_id: str) -> list[Request]:
        return await self._list(Request, "requests", job_id)

    async def unread(self, job_id: str) -> list[Request]:
        return await self._list(Request, "unread", job_id)

    async def request_of_source(self, source: str) -> Request | None:
        found = await self._list(Request, "request_of_source", source)
        return found[0] if found else None

    async def mark_read(self, job_id: str, by: str, requests: list[Request]) -> None:
        await self.run("mark_read", job_id, by, [r.id for r in requests])

    async def take_update(self, source: str) -> bool:
        """Whether this update is new; from now on it is not."""
        return await self.value("insert_update", source) is not None

    async def known_source(self, source: str) -> bool:
        return await self.value("known_source", source)

    async def decision(self, job_id: str, kind: str, sha: str = "") -> str | None:
        row = await self.row("decision", job_id, kind, sha)
        return row["answer"] if row else None

    async def decisions(self, job_id: str) -> list[dict[str, Any]]:
        return [dict(r) for r in await self.all("decisions", job_id)]

    # ── the work ──────────────────────────────────────────────────────────────

    async def add_plan(self, job_id: str, request_no: int, plan: Any) -> None:
        await self.run("insert_plan", job_id, request_no, plan)

    async def plan(self, job_id: str, request_no: int) -> dict[str, Any] | None:
        return await self.value("plan", job_id, request_no)

    async def plans(self, job_id: str) -> list[dict[str, Any]]:
        return [dict(r) for r in await self.all("plans", job_id)]

    async def put_round(
        self,
        job: Job,
        *,
        commit: str | None = None,
        parent: str | None = None,
        outcome: str | None = None,
        summary: str | None = None,
        feedback: str | None = None,
        bundle: str | None = None,
        proved: bool | None = None,
        spent: dict[str, Any] | None = None,
        merges: str | None = None,
    ) -> None:
        """What is known of the job's present round; None keeps what stands."""
        facts = (commit, parent, outcome, summary, feedback, bundle, proved, spent, merges)
        await self.run("put_round", job.id, job.request_no, job.round, *facts)

    async def rounds(self, job_id: str) -> list[Round]:
        return await self._list(Round, "rounds", job_id)

    # ── proof ─────────────────────────────────────────────────────────────────

    async def add_evidence(self, job: Job, commit: str, kind: str, ok: bool, data: Any) -> None:
        args = (job.id, commit, kind, ok, data, job.lease_epoch, job.request_no, job.round)
        await self.run("insert_evidence", *args)

    async def evidence(self, job_id: str, commit: str) -> dict[str, Evidence]:
        """The newest of each kind for this commit."""
        return {e.kind: e for e in await self._list(Evidence, "evidence", job_id, commit)}

    async def all_evidence(self, job_id: str) -> list[Evidence]:
        return await self._list(Evidence, "all_evidence", job_id)

    async def add_artifact(
        self,
        job: Job,
        *,
        kind: str,
        name: str,
        key: str,
        sha256: str,
        size: int,
        content_type: str,
        commit: str | None = None,
    ) -> None:
        await self.run(
            "insert_artifact", job.id, commit, job.state, kind, name, key, sha256, size, content_type, job.lease_epoch
        )

    async def artifacts(self, job_id: str) -> list[Artifact]:
        return await self._list(Artifact, "artifacts", job_id)

    async def artifact(self, job_id: str, sha256: str) -> Artifact | None:
        found = await self._list(Artifact, "artifact", job_id, sha256)
        return found[0] if found else None

    async def put_base(self, repo: str, base_sha: str, data: Any) -> None:
        await self.run("put_base", repo, base_sha, data)

    async def base(self, repo: str, base_sha: str) -> dict[str, Any] | None:
        return await self.value("base", repo, base_sha)

    # ── outside effects ───────────────────────────────────────────────────────

    async def intend(self, job: Job, key: str, intent: Any) -> Effect:
        """Writes the intent where there is none; gives what stands, with a result where the act is known."""
        row = await self.row("intend", job.id, key, intent, job.lease_epoch)
        return msgspec.convert(dict(row or {}), Effect)

    async def effect_result(self, job_id: str, key: str, result: Any) -> None:
        """What came of the act. A holder that was fenced meanwhile may write it too: it happened."""
        await self.run("effect_result", job_id, key, result)

    async def effect_ended(self, job: Job, key: str) -> None:
        """The act of this epoch has ended and did not happen; where a later holder has begun it, nothing is written."""
        await self.run("effect_ended", job.id, key, job.lease_epoch)

    async def effects(self, job_id: str) -> list[dict[str, Any]]:
        return [dict(r) for r in await self.all("effects", job_id)]

    async def record(self, job_id: str, key: str, data: Any) -> None:
        """What a replay would have done outside; the newest of a key counts."""
        await self.run("record", job_id, key, data)

    async def recorded(self, job_id: str, prefix: str = "") -> dict[str, Any]:
        """Data by key, oldest first."""
        return {r["key"]: r["data"] for r in await self.all("recorded", job_id, prefix)}

    # ── the ledger ────────────────────────────────────────────────────────────

    async def own(self, job_id: str, placement: int, node: str, kind: str, ref: str) -> None:
        await self.run("own", job_id, placement, node, kind, ref)

    async def free(self, job_id: str, placement: int, kind: str | None = None) -> None:
        await self.run("free", job_id, placement, kind)

    async def owned_on(self, node: str) -> list[Owned]:
        return await self._list(Owned, "owned_on", node)

    async def next_placement(self, job_id: str) -> int:
        return await self.value("next_placement", job_id)

    # ── the chat ──────────────────────────────────────────────────────────────

    async def job_of_message(self, chat: str, message_id: int) -> str | None:
        return await self.value("job_of_message", chat, message_id)

    async def messages(self, job_id: str) -> list[Message]:
        return await self._list(Message, "messages", job_id)

    async def put_answer(self, job_id: str, chat: str, kind: str, message_id: int) -> None:
        """What the bot said about a job beside what the notifier shows; a reply to it is about the job."""
        await self.run("put_answer", job_id, chat, kind, message_id)

    async def forge_news(self, job_id: str) -> ForgeNews | None:
        found = await self._list(ForgeNews, "forge_news", job_id)
        return found[0] if found else None

    async def behind(self, *, replay: bool = False) -> list[tuple[str, int, str]]:
        """(job, its newest seq, chat) where a chat shows less; of replays, or of none."""
        return [(r["id"], r["seq"], r["chat"]) for r in await self.all("behind", replay)]

    async def lease_message(self, job_id: str, chat: str, kind: str, owner: str) -> Message | None:
        row = await self.row("lease_message", job_id, chat, kind, owner)
        return msgspec.convert(dict(row), Message) if row else None

    async def shown(self, job_id: str, chat: str, kind: str, message_id: int | None, seq: int, text: str) -> None:
        await self.run("shown", job_id, chat, kind, message_id, seq, text)
