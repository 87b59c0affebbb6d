"""What to record, as a value and as JSON for the process that does it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from factory_browser import scenarios
from factory_browser.errors import PlanInvalid, ScenarioErrors
from factory_browser.errors_seen import NONE_KNOWN, KnownErrors
from factory_browser.scenarios import Scenario, Step


@dataclass
class Plan:
    """What to record.

    `urls` (service → url) are opened as they are written. `login` runs first, off camera, starting from `storage_state`
    (a file of Playwright's); every scenario then starts with what came of it. `known` are errors of the base, which do
    not count. `chapter_titles` are the criteria's texts by their ids. `files` is the directory that uploads are taken from.
    Without scenarios each URL is opened instead.
    """

    urls: dict[str, str]
    primary: str
    scenarios: list[Scenario]
    out: Path
    proxy: str | None = None
    login: list[Step] | None = None
    storage_state: Path | None = None
    known: KnownErrors = NONE_KNOWN
    size: tuple[int, int] = (1280, 720)
    film: bool = True
    trace: bool = True
    chapter_titles: dict[str, str] = field(default_factory=dict)
    files: Path | None = None

    def check(self) -> None:
        """Raises PlanInvalid."""
        if self.primary not in self.urls:
            raise PlanInvalid(f"the primary service “{self.primary}” has no url")
        if any(side % 2 or not 320 <= side <= 3840 for side in self.size):
            raise PlanInvalid(f"the size {self.size[0]}x{self.size[1]} has a side that is odd or not within 320…3840")
        if self.storage_state:
            _check_storage(self.storage_state)

    def as_json(self) -> str:
        """What `from_json` reads back."""
        written: dict[str, object] = {f.name: getattr(self, f.name) for f in fields(self)}
        written |= {
            "scenarios": [s.as_dict() for s in self.scenarios],
            "login": [s.as_dict() for s in self.login] if self.login else None,
            "known": self.known.as_dict(),
            **{
                name: str(path) if (path := getattr(self, name)) else None for name in ("out", "storage_state", "files")
            },
        }
        return json.dumps(written, ensure_ascii=False, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Raises PlanInvalid."""
        try:
            written = json.loads(text)
        except ValueError as e:
            raise PlanInvalid(f"it is no JSON: {e}") from e
        if not isinstance(written, dict):
            raise PlanInvalid("it is no JSON object")
        if unknown := sorted(set(written) - {f.name for f in fields(cls)}):
            raise PlanInvalid(f"it has unknown keys: {', '.join(unknown)}")
        try:
            return cls(**_read(written))
        except ScenarioErrors as e:
            raise PlanInvalid(f"its scenarios are not valid: {e}") from e
        except (TypeError, ValueError, AttributeError) as e:
            raise PlanInvalid(f"it lacks a key or has one of another type: {e}") from e


def _check_storage(path: Path) -> None:
    try:
        state = json.loads(path.read_text())
    except OSError as e:
        raise PlanInvalid(f"the storage state {path} cannot be read: {e.strerror}") from e
    except ValueError as e:
        raise PlanInvalid(f"the storage state {path} is no JSON: {e}") from e
    if not isinstance(state, dict) or not {"cookies", "origins"} <= set(state):
        raise PlanInvalid(f"the storage state {path} has no cookies and origins, as Playwright's has")


def _read(written: Mapping[str, Any]) -> dict[str, Any]:
    plan = dict(written)
    if found := plan.get("scenarios"):
        plan["scenarios"] = scenarios.load(json.dumps({"scenarios": found}))
    if login := plan.get("login"):
        plan["login"] = scenarios.load_steps(json.dumps(login))
    plan["known"] = KnownErrors.from_dict(plan.get("known") or {})
    plan["size"] = tuple(plan.get("size") or (1280, 720))
    for name in ("out", "storage_state", "files"):
        plan[name] = Path(plan[name]) if plan.get(name) else None
    if plan["out"] is None:
        raise PlanInvalid("it does not say where the recording goes (out)")
    return plan
