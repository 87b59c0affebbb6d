"""What a browser plays: the repo's scenarios and its login, read by the browser's part (the extra [validate])."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory_contract import check
from factory_contract.checkout import Checkout
from factory_contract.errors import InvalidContract, InvalidScenarios, Problem
from factory_contract.model import Contract

if TYPE_CHECKING:
    from factory_browser.scenarios import Scenario, Step

MOST = 1_000_000  # bytes that are read; the browser's part refuses less


def file(checkout: Checkout, contract: Contract) -> Path:
    """The contract's, else the one that an agent leaves."""
    named = contract.validation.scenarios
    return checkout.root / named if named else checkout.scenarios


def load(checkout: Checkout, contract: Contract) -> "list[Scenario]":
    """Empty where the contract names no file and none was left. Raises InvalidScenarios."""
    from factory_browser import errors, scenarios

    path = file(checkout, contract)
    if not contract.validation.scenarios and not path.is_file():
        return []
    shown = str(path.relative_to(checkout.root))
    try:
        return scenarios.load(_inside(path, checkout.root), source=shown)
    except errors.ScenarioErrors as e:
        found = [Problem("scenario", p.what, line=p.line, column=p.column, hint=_expected(p)) for p in e.problems]
        raise InvalidScenarios(shown, found) from e
    except OSError as e:
        raise InvalidScenarios(shown, [Problem("unreadable", f"it cannot be read: {e.strerror or e}")]) from e


def _inside(path: Path, root: Path) -> bytes:
    """An agent writes this file: a link out of the repo or a pipe is not read."""
    if not path.is_file() or not path.resolve().is_relative_to(root.resolve()):
        raise OSError("it is no regular file of this repo")
    with path.open("rb") as f:
        return f.read(MOST)


def login(checkout: Checkout, contract: Contract) -> "list[Step]":
    """The contract's `login`. Raises InvalidContract."""
    from factory_browser import errors, scenarios

    steps = contract.login or []
    if not steps:
        return []
    lines = ",\n".join(json.dumps(step) for step in steps)  # a step a line, so that a line tells which
    try:
        return scenarios.load_steps(f"[\n{lines}\n]", source="login")
    except errors.ScenarioErrors as e:
        loaded = check.load(checkout)  # once more, for its places
        assert checkout.contract is not None
        found: list[Problem] = []
        for problem in e.problems:
            path = ("login", min(max(problem.line - 2, 0), len(steps) - 1))
            line, column = loaded.tree.at(path)
            found.append(
                Problem("scenario", problem.what, path=path, line=line, column=column, hint=_expected(problem))
            )
        raise InvalidContract(checkout.contract.name, found) from e


def _expected(problem: Any) -> str:
    nearest = f"Did you mean `{problem.nearest}`?" if problem.nearest else ""
    return nearest or (f"Expected {problem.expected}." if problem.expected else "")
