"""`factory validate`: opens the running app in Chromium and plays the repo's scenarios, else looks at every URL."""

import argparse
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory_contract import foreground, leasing, live, words
from factory_contract.checkout import Checkout
from factory_contract.environment import Environment
from factory_contract.errors import (
    BrowserFailed,
    BrowserMissing,
    InvalidScenarios,
    NoSuchScenario,
    NotRunning,
    NoUrls,
    Problem,
    Unhealthy,
    ValidationFailed,
)
from factory_contract.output import Output

if TYPE_CHECKING:
    from factory_browser.record import Plan, Recording
    from factory_browser.scenarios import Scenario


def run(checkout: Checkout, args: argparse.Namespace, out: Output) -> int:
    try:
        import factory_browser.record  # noqa: F401 - the extra [validate]
    except ModuleNotFoundError as e:
        raise BrowserMissing() from e
    fields, error = live.look(checkout)
    if fields["state"] == "stopped":
        raise error or NotRunning()
    if fields["state"] != "ready":
        raise error or Unhealthy(what=f"the app is {fields['state']}")
    environment = leasing.borrow(checkout)
    plan = _plan(checkout, environment, args.feature)
    mode = "scenarios" if plan.scenarios else "smoke"
    out.progress(f"playing {len(plan.scenarios)} scenarios" if plan.scenarios else f"looking at {len(plan.urls)} URLs")
    recording = foreground.run(_record(plan))
    return _answer(recording, mode, plan.out, out)


def _plan(checkout: Checkout, environment: Environment, feature: str | None) -> "Plan":
    from factory_browser.record import Plan

    urls = environment.urls()
    opened = {u.service: u.url for u in urls}
    primary = urls[0].service if urls else "app"
    if (start := environment.start_url()) is not None:
        opened[primary] = start
    if not opened:
        assert checkout.contract is not None
        raise NoUrls(file=checkout.contract.name)
    directory = checkout.state_dir / "validate"
    shutil.rmtree(directory, ignore_errors=True)
    return Plan(
        urls=opened,
        primary=primary,
        scenarios=_scenarios(checkout, environment, feature),
        out=directory,
        login=_login(environment),
        film=environment.contract.validation.browser.record_video,
        files=checkout.root,
    )


def _scenarios(checkout: Checkout, environment: Environment, feature: str | None) -> "list[Scenario]":
    """The contract's, else those that an agent has left; where there are none the URLs are looked at."""
    from factory_browser import errors, scenarios

    named = environment.contract.validation.scenarios
    path = checkout.root / named if named else checkout.scenarios
    found: list[Scenario] = []
    if named or path.is_file():
        shown = str(path.relative_to(checkout.root))
        try:
            found = scenarios.load(_inside(path, checkout.root), source=shown)
        except errors.ScenarioErrors as e:
            raise InvalidScenarios(shown, [_problem(p) for p in e.problems]) from e
        except OSError as e:
            raise InvalidScenarios(shown, [Problem("unreadable", f"it cannot be read: {e.strerror or e}")]) from e
    if feature is None:
        return found
    chosen = [s for s in found if _about(s, feature)]
    if not chosen:
        names = [s.name for s in found]
        raise NoSuchScenario(feature=feature, hint=words.suggestion(feature, names) or "There are no scenarios yet.")
    return chosen


def _inside(path: Path, root: Path) -> bytes:
    """An agent writes this file: a link out of the repo or a pipe is not read."""
    if not path.is_file() or not path.resolve().is_relative_to(root.resolve()):
        raise OSError("it is no regular file of this repo")
    with path.open("rb") as f:
        return f.read(1_000_000)


def _about(scenario: "Scenario", feature: str) -> bool:
    wanted = feature.casefold()
    return wanted in scenario.name.casefold() or wanted in (c.casefold() for c in scenario.criteria)


def _login(environment: Environment) -> Any:
    """The contract's `login`, which the browser's part reads. Raises InvalidScenarios."""
    import json

    from factory_browser import errors, scenarios

    steps = environment.contract.login
    if not steps:
        return None
    try:
        return scenarios.load_steps(json.dumps(steps), source="login")
    except errors.ScenarioErrors as e:
        # the places are those of the JSON above, so they are not told
        raise InvalidScenarios("login", [Problem("scenario", p.what, hint=_expected(p)) for p in e.problems]) from e


def _problem(found: Any) -> Problem:
    return Problem("scenario", found.what, line=found.line, column=found.column, hint=_expected(found))


def _expected(found: Any) -> str:
    nearest = f"Did you mean `{found.nearest}`?" if found.nearest else ""
    return nearest or (f"Expected {found.expected}." if found.expected else "")


async def _record(plan: "Plan") -> "Recording":
    from factory_browser import errors, record
    from factory_browser.chromium import NoChromium

    try:
        return await record.run(plan)
    except (errors.BrowserError, NoChromium) as e:
        raise BrowserFailed(why=str(e)) from e


def _answer(recording: "Recording", mode: str, directory: Path, out: Output) -> int:
    fields: dict[str, Any] = {k: v for k, v in recording.as_dict().items() if k not in ("ok", "known")}
    fields |= {"mode": mode, "directory": str(directory)}
    for result in recording.results:
        verdict = out.paint("green", "ok    ", sys.stdout) if result.ok else out.paint("red", "failed", sys.stdout)
        out.line(f"{verdict}  {result.name}  {result.seconds:.1f} s")
        if not result.ok:
            out.line(f"        {result.step}: {result.error}" if result.step else f"        {result.error}")
    errors_seen = [*recording.console_new, *recording.requests_new, *recording.page_errors]
    for seen in errors_seen:
        out.line(f"  {seen}")
    out.line(f"pictures, film and trace: {directory}")
    if recording.ok:
        out.result(**fields)
        return 0
    failed = sum(not r.ok for r in recording.results)
    what = (
        f"{failed} of {len(recording.results)} failed"
        if failed
        else f"{len(errors_seen)} errors were seen in the browser"
    )
    return out.failed(ValidationFailed(what=what, hint=f"Look into {directory}."), **fields)
