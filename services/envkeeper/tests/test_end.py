"""`python -m factory_envkeeper.end`: the sandboxes of a factory that has stopped."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from factory_sandbox.client import Sandbox, node_key
from factory_sandbox.local import Local, Spec


async def test_end(tmp_path: Path) -> None:
    """Ends what runs and removes what lies there, without any server; where nothing is, it is done at once."""
    node = tmp_path / "n"
    checkout = node / "places/jabcdefghij-1/checkout"
    checkout.mkdir(parents=True)
    spec = Spec(
        "node",
        node,
        "jabcdefghij",
        1,
        checkout,
        shims={"factory": ["sh", "-c", "exec sleep 600"]},
        env={},
        ports=(2000, 2019),
    )
    handle = await Local().create(spec, 1)
    sandbox = Sandbox(handle, node_key(node), 1)
    async with await sandbox.spawn(["factory", "supervise"], keep=True, pipe=False) as kept:
        pid = kept.pid
    for _ in range(2):
        argv = [sys.executable, "-m", "factory_envkeeper.end", str(node)]
        done = await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True, timeout=50)
        assert (done.returncode, done.stderr) == (0, "")
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not checkout.parent.exists()
    assert not await Local().alive(handle)


def test_usage() -> None:
    """Without a directory it says how it is called."""
    done = subprocess.run([sys.executable, "-m", "factory_envkeeper.end"], capture_output=True, text=True, timeout=50)
    assert done.returncode == 1
    assert "NODE_DIR" in done.stderr
