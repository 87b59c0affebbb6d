"""What the base says before any change: its suites, its pages' errors, what its setup changes. Once a base commit."""

from __future__ import annotations

from typing import Any

from factory_chassis.work import Work
from factory_forge.inside import GitInside
from factory_sandbox.contract import Contract


async def examine(work: Work, contract: Contract, git: GitInside) -> dict[str, Any]:
    """`{suites, validate, dirt}` of the running base; red things here are shown and never counted against a change.

    `dirt` is what setup, the running app and the suites change in the checkout (`GitInside.changes`): it is in nobody's
    commit.
    """
    dirt = await git.changes()
    tests = await contract.run("test", timeout=1500)
    pages = await contract.run("validate", "--no-video", timeout=300)
    dirt |= await git.changes()
    work.log.info(
        "base examined",
        suites={s.get("suite"): s.get("ok") for s in tests.data.get("suites", [])},
        pages_ok=pages.ok,
        dirt=len(dirt),
    )
    return {"suites": tests.data.get("suites", []), "validate": pages.data, "dirt": dirt}
