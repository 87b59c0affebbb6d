"""One audit: look, and look again at what was found; what stands in every look is a finding."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from factory_chassis.settings import Settings, node_name
from factory_forge.forges import Forges
from factory_jobs import books

from ..jobs import looking
from . import chat, machine, outside, records, stored
from .finding import Finding

PAUSE = 1.0  # seconds between two looks


async def audit(
    settings: Settings, job_id: str | None = None, *, deep: bool = False, wait: float = 10.0
) -> list[Finding]:
    """What is wrong with a job, or with all of them and what lies around; nothing is changed. Raises Unreachable.

    The factory may run meanwhile. What is under way is no finding: a held lease, an intent without its result, a
    cleanup that is still to be done. What heals itself is none either: where something was found it is looked at again
    for `wait` seconds, and only what stood the whole time is given. `deep` reads every artifact and compares its hash.
    The machine is the one this runs on: other nodes' places are looked at there.
    """
    until = time.monotonic() + wait
    found = await _look(settings, job_id, deep)
    while found and time.monotonic() < until:
        await asyncio.sleep(PAUSE)
        again = await _look(settings, job_id, deep)
        found = [f for f in found if f in again]
    return found


async def _look(settings: Settings, job_id: str | None, deep: bool) -> list[Finding]:
    """Intents are written before they are acted on, and results after: so what is written is read before the outside
    is, to look for what it names, and again after it, to look for who named what is there."""
    async with looking(settings) as (store, _):
        before = await books.read(store.pool, job_id)
        there = await outside.look(Forges.of(settings), settings.node_dir, before)
        here = await machine.look(settings.node_dir.resolve())
        after = await books.read(store.pool, job_id)
    node = node_name(settings.node_dir) if (settings.node_dir / "node").exists() else ""
    found = [
        *records.findings(before),
        *outside.missing(there, before),
        *outside.unknown(there, after),
        *machine.findings(here, node, before, after),
        *await stored.findings(settings, before, deep=deep),
        *await chat.findings(settings, before),
    ]
    return sorted(_of(job_id, found), key=lambda f: (f.kind, f.job_id, f.what))


def _of(job_id: str | None, found: list[Finding]) -> Iterator[Finding]:
    """With one job's books everything else looks unknown."""
    for each in dict.fromkeys(found):
        if job_id in (None, each.job_id) or each.kind == "unseen":
            yield each
