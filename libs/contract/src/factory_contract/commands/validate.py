"""`factory validate`: opens the running app in Chromium and plays the repo's scenarios, else looks at every URL."""

import argparse
import json
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
    from factory_browser.record import Recording
    from factory_browser.scenarios import Scenario, Step
    from factory_browser.smoke import Smoke


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
    urls, primary = _urls(checkout, environment)
    scenarios = _scenarios(checkout, environment, args.feature)
    directory = checkout.state_dir / "validate"
    shutil.rmtree(directory, ignore_errors=True)
    if not scenarios:
        out.progress(f"no scenarios: looking at {len(urls)} URLs")
        return _smoke_answer(foreground.run(_smoke(urls, directory)), directory, out)
    out.progress(f"playing {len(scenarios)} scenarios")
    login = _login(environment)
    film = environment.contract.validation.browser.record_video
    recording = foreground.run(_record(urls, primary, scenarios, login, directory, film, checkout.root))
    return _answer(recording, directory, out)


def _urls(checkout: Checkout, environment: Environment) -> tuple[dict[str, str], str]:
    """service → url as it is written, and the primary service; start_url is the primary one's."""
    urls = environment.urls()
    opened = {u.service: u.url for u in urls}
    primary = urls[0].service if urls else "app"
    if (start := environment.start_url()) is not None:
        opened[primary] = start
    if not opened:
        assert checkout.contract is not None
        raise NoUrls(file=checkout.contract.name)
    return opened, primary


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


def _login(environment: Environment) -> "list[Step] | None":
    """The contract's `login`, which the browser's part reads. Raises InvalidScenarios."""
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


async def _record(
    urls: dict[str, str],
    primary: str,
    scenarios: "list[Scenario]",
    login: "list[Step] | None",
    directory: Path,
    film: bool,
    files: Path,
) -> "Recording":
    from factory_browser import errors, record
    from factory_browser.chromium import NoChromium

    plan = record.Plan(
        urls=urls, primary=primary, scenarios=scenarios, out=directory, login=login, film=film, files=files
    )
    try:
        return await record.run(plan)
    except (errors.BrowserError, NoChromium) as e:
        raise BrowserFailed(why=str(e)) from e


async def _smoke(urls: dict[str, str], directory: Path) -> "Smoke":
    from factory_browser import errors
    from factory_browser.chromium import NoChromium
    from factory_browser.smoke import smoke

    try:
        return await smoke(urls, directory)
    except (errors.BrowserError, NoChromium) as e:
        raise BrowserFailed(why=str(e)) from e


def _verdict(ok: bool, out: Output) -> str:
    return out.paint("green", "ok    ", sys.stdout) if ok else out.paint("red", "failed", sys.stdout)


def _smoke_answer(found: "Smoke", directory: Path, out: Output) -> int:
    fields = {"mode": "smoke", "directory": str(directory), "pages": found.as_dict()["pages"]}
    fields["known"] = found.known().as_dict()  # what a later look need not count
    for page in found.pages:
        out.line(f"{_verdict(page.ok, out)}  {page.service}  {page.url}  {page.status or '-'}  {page.title}".rstrip())
        for reason in page.reasons:
            out.line(f"        {reason}")
    if not found.ok:
        error = ValidationFailed(what="; ".join(found.reasons), hint=f"The screenshots are in {directory}.")
        return out.failed(error, **fields)
    out.result(**fields)
    return 0


def _answer(recording: "Recording", directory: Path, out: Output) -> int:
    told = recording.as_dict()
    fields = {
        "mode": "scenarios",
        "directory": str(directory),
        **{k: told[k] for k in told if k != "ok"},
    }
    for result in recording.results:
        out.line(f"{_verdict(result.ok, out)}  {result.name}  {result.seconds:.1f} s")
        if not result.ok:
            out.line(f"        {result.step}: {result.error}" if result.step else f"        {result.error}")
    errors_seen = [*recording.console_new, *recording.requests_new, *recording.page_errors]
    for seen in errors_seen:
        out.line(f"        seen in the browser: {seen.text}")
    out.line(f"pictures, film and trace: {directory}")
    if recording.ok:
        out.result(**fields)
        return 0
    bad = [r.name for r in recording.results if not r.ok]
    what = f"failed: {', '.join(bad)}" if bad else f"{len(errors_seen)} errors were seen in the browser"
    return out.failed(ValidationFailed(what=what, hint=f"Pictures and film are in {directory}."), **fields)
