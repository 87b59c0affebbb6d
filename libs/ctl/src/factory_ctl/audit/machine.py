"""The ledger against this machine: places, processes, ports. Envkeeper says what the machine holds."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import combinations
from pathlib import Path
from typing import Any

from factory_jobs.books import Books
from factory_jobs.records import Owned

from .finding import Finding, finding

YOUNG = timedelta(seconds=60)  # what is in the ledger for less may still be in the making


@dataclass(frozen=True)
class Here:
    """What `factory_envkeeper.seen` prints; `problem` where it cannot."""

    places: dict[str, dict[str, Any]] = field(default_factory=dict)
    processes: list[dict[str, Any]] = field(default_factory=list)
    listeners: list[dict[str, Any]] = field(default_factory=list)
    problem: str = ""


async def look(node_dir: Path) -> Here:
    """By envkeeper's own command: this member imports no sandbox."""
    if not node_dir.exists():
        return Here()
    argv = [sys.executable, "-m", "factory_envkeeper.seen", str(node_dir)]
    asked = await asyncio.create_subprocess_exec(
        *argv, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asked.communicate()
    return Here(**json.loads(out)) if asked.returncode == 0 else Here(problem=err.decode(errors="replace")[-500:])


def findings(here: Here, node: str, before: Books, after: Books) -> Iterator[Finding]:
    """`before` and `after` the look: what it names has to be there, and what is there has to be named."""
    if here.problem:
        yield finding("unseen", "", f"this machine's places: {here.problem}")
        return
    yield from _lacking(here, [o for o in before.owned if o.node == node], before)
    named = {_place(o) for o in after.owned if o.node == node}
    for name, place in here.places.items():
        if name not in named:
            there = ", ".join(kind for kind in ("ledger", "directory", "run") if place[kind])
            yield finding("place", _job_of(name), f"{name} is on this machine ({there}) and nobody owns it")
    for process in here.processes:
        if process["place"] not in named or not process["held"]:
            says = f"process {process['pid']} ({process['command']}) is in {process['place']}, and no sandbox holds it"
            yield finding("process", _job_of(process["place"]), says)
    yield from _ports(here, [o for o in after.owned if o.node == node and o.kind == "ports"])


def _place(owned: Owned) -> str:
    return f"{owned.job_id}-{owned.placement}"


def _job_of(place: str) -> str:
    return place.rpartition("-")[0]


def _lacking(here: Here, owned: list[Owned], books: Books) -> Iterator[Finding]:
    """Rows whose thing is not there, and rows that nobody needs any more and no errand takes away."""
    cleanups = {(e["job_id"], e["data"].get("placement")) for e in books.errands if e["kind"] == "cleanup"}
    for each in owned:
        job = books.jobs[each.job_id]
        if job.lease_owner or books.now - each.at < YOUNG or (job.id, each.placement) in cleanups:
            continue  # under way
        place = here.places.get(_place(each), {})
        if each.stray:
            yield finding("owned", job.id, f"{each.kind} {each.ref} is in the ledger, and the job needs it no more")
        elif each.kind == "clone" and not place.get("directory"):
            yield finding("owned", job.id, f"{each.ref} is in the ledger and not on this machine")
        elif each.kind == "sandbox" and not place.get("served"):
            yield finding("owned", job.id, f"{each.ref} is in the ledger and its server does not run")


def _ports(here: Here, leases: list[Owned]) -> Iterator[Finding]:
    """A leased port is its place's own, and no two leases share one."""
    ranges = {_place(o): tuple(map(int, o.ref.split("-"))) for o in leases}
    for listener in here.listeners:
        owner = next((p for p, (low, high) in ranges.items() if low <= listener["port"] <= high), None)
        if owner is not None and listener["place"] != owner:
            who = f"process {listener['pid']} ({listener['command']})" if listener["pid"] else "a process of others"
            yield finding("port", _job_of(owner), f"port {listener['port']} is leased to {owner} and held by {who}")
    for (one, (low, high)), (other, (other_low, other_high)) in combinations(ranges.items(), 2):
        if low <= other_high and other_low <= high:
            yield finding("port", _job_of(one), f"{one} and {other} have leased the same ports ({low}-{high})")
