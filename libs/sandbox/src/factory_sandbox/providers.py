"""Knows what a provider of sandboxes does, whatever its walls are made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .handle import Handle


@dataclass(frozen=True)
class Spec:
    """What a sandbox is to be."""

    node: str
    node_dir: Path
    job_id: str
    placement: int
    checkout: Path  # a private clone; it is there already
    shims: Mapping[str, Sequence[str]]  # command names on PATH inside, and what each runs; `factory` is one
    env: Mapping[str, str]  # for every child: package caches and the like
    ports: tuple[int, int]  # first and last of the leased range; told in `status`, used by nobody here


class Provider(Protocol):
    """One kind of sandbox. A handle that it gave is good for any process of the node."""

    def reserve(self, node: str, node_dir: Path, job_id: str, placement: int) -> Handle: ...

    async def create(self, spec: Spec, epoch: int) -> Handle: ...

    async def destroy(self, handle: Handle) -> None: ...

    async def alive(self, handle: Handle) -> bool: ...
