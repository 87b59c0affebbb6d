"""`python -m factory_envkeeper.end NODE_DIR` ends every sandbox of a node whose factory has stopped; needs no server."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from factory_sandbox.errors import SandboxError
from factory_sandbox.handle import Handle
from factory_sandbox.local import Local


async def end(node_dir: Path) -> list[str]:
    """What could not be ended, as sentences. The jobs go on from their checkpoints when the factory is back."""
    local = Local()
    left: list[str] = []

    async def one(handle: Handle) -> None:
        try:
            await local.destroy(handle)
        except SandboxError as e:
            left.append(e.message)

    await asyncio.gather(*(one(handle) for handle in local.placements(node_dir)))
    return left


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python -m factory_envkeeper.end NODE_DIR")
    if left := asyncio.run(end(Path(sys.argv[1]).resolve())):
        sys.exit("\n".join(left))


if __name__ == "__main__":
    main()
