"""What the runners in one output have found, each by its own parser, in each package of a workspace."""

from pathlib import Path

from factory_contract.results import (
    bun,
    cargo,
    go,
    jest,
    mocha,
    node,
    phpunit,
    pytest,
    rspec,
    streams,
    unittest,
    vitest,
)
from factory_contract.results.found import Failure, Found

RUNNERS = (pytest, unittest, jest, vitest, mocha, node, bun, go, cargo, rspec, phpunit)


def read(output: bytes, root: Path) -> list[Found]:
    """All runs in `output`. Names and messages lose the path of the checkout, so that they are the same in any other."""
    return [
        found._replace(where=where, failures=[_named(failure, where, root) for failure in found.failures])
        for where, text in streams.split(streams.plain(output))
        for runner in RUNNERS
        if any(sign in text for sign in runner.SIGNS)
        for found in runner.parse(text)
    ]


def _named(failure: Failure, where: str, root: Path) -> Failure:
    name, message = (text.replace(f"{root}/", "") for text in failure)
    return Failure(f"{where}: {name}" if where else name, message)
