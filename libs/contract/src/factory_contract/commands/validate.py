"""`factory validate`: opens the running app in Chromium and plays the repo's scenarios, else looks at every URL."""

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory_contract import features, foreground, leasing, live, scenarios, words
from factory_contract.checkout import Checkout
from factory_contract.environment import Environment
from factory_contract.errors import (
    BrowserFailed,
    BrowserMissing,
    ChromiumMissing,
    NoSuchScenario,
    NotRunning,
    NoUrls,
    Unhealthy,
    ValidationFailed,
)
from factory_contract.output import Output

if TYPE_CHECKING:
    from factory_browser.plan import Plan
    from factory_browser.record import Recording
    from factory_browser.scenarios import Scenario
    from factory_browser.smoke import Smoke


def run(checkout: Checkout, args: argparse.Namespace, out: Output) -> int:
    _need_a_browser()
    fields, error = live.look(checkout)
    if fields["state"] == "stopped":
        raise error or NotRunning()
    if fields["state"] != "ready":
        raise error or Unhealthy(what=f"the app is {fields['state']}")
    environment = leasing.borrow(checkout)
    plan = _plan(checkout, environment, args)
    shutil.rmtree(plan.out, ignore_errors=True)
    if plan.scenarios:
        out.progress(
            f"playing {words.counted(len(plan.scenarios), 'scenario')}: {', '.join(s.name for s in plan.scenarios)}"
        )
        return _answer(foreground.run(_browse(plan)), plan.out, out)
    out.progress(f"no scenarios: looking at {words.counted(len(plan.urls), 'URL')}")
    return _smoke_answer(foreground.run(_look(plan)), plan.out, out)


def _need_a_browser() -> None:
    """Raises BrowserMissing, ChromiumMissing."""
    try:
        from factory_browser import chromium, record  # noqa: F401 - the extra [validate]
    except ModuleNotFoundError as e:
        raise BrowserMissing(python=sys.executable) from e
    try:
        chromium.find()
    except chromium.NoChromium as e:
        raise ChromiumMissing(why=str(e), python=sys.executable) from e


def _plan(checkout: Checkout, environment: Environment, args: argparse.Namespace) -> "Plan":
    from factory_browser.plan import Plan

    urls, primary = _urls(checkout, environment)
    return Plan(
        urls=urls,
        primary=primary,
        scenarios=_scenarios(checkout, environment, args.feature),
        out=checkout.state_dir / "validate",
        login=scenarios.login(checkout, environment.contract),
        film=environment.contract.validation.browser.record_video and not args.no_video,
        files=checkout.root,
    )


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
    """All, or those that are about a feature. Raises InvalidScenarios, NoSuchScenario."""
    found = scenarios.load(checkout, environment.contract)
    if feature is None:
        return found
    chosen = features.about(feature, found)
    if not chosen:
        shown = str(scenarios.file(checkout, environment.contract).relative_to(checkout.root))
        raise NoSuchScenario(feature=feature, file=shown, hint=_what_there_is(feature, found, shown))
    return chosen


def _what_there_is(feature: str, found: "list[Scenario]", file: str) -> str:
    if not found:
        return f"There are no scenarios yet: write one into {file}, or leave --feature out to look at every URL."
    names = words.closest_first(feature, [scenario.name for scenario in found])
    return f"There are: {'; '.join(f'“{name}”' for name in names)}."


async def _browse(plan: "Plan") -> "Recording":
    from factory_browser import errors, record

    try:
        return await record.run(plan)
    except errors.BrowserError as e:
        raise BrowserFailed(why=str(e), python=sys.executable) from e


async def _look(plan: "Plan") -> "Smoke":
    from factory_browser import errors
    from factory_browser.smoke import smoke

    try:
        return await smoke(plan)
    except errors.BrowserError as e:
        raise BrowserFailed(why=str(e), python=sys.executable) from e


def _verdict(ok: bool, out: Output) -> str:
    return out.paint("green", "ok    ", sys.stdout) if ok else out.paint("red", "failed", sys.stdout)


def _smoke_answer(found: "Smoke", directory: Path, out: Output) -> int:
    told = {k: v for k, v in found.as_dict().items() if k not in ("ok", "reasons")}
    for page in found.pages:
        out.line(f"{_verdict(page.ok, out)}  {page.service}  {page.url}  {page.status or '-'}  {page.title}".rstrip())
        for reason in page.reasons:
            out.line(f"        {reason}")
        for seen in (*page.console, *page.requests, *page.page_errors):
            out.line(out.paint("dim", f"        seen in the browser: {seen.text}", sys.stdout))
    what = "; ".join(found.reasons)
    return _end(what, "smoke", told, directory, out)


def _answer(recording: "Recording", directory: Path, out: Output) -> int:
    told = {k: v for k, v in recording.as_dict().items() if k != "ok"}
    for result in recording.results:
        out.line(f"{_verdict(result.ok, out)}  {result.name}  {result.seconds:.1f} s")
        if not result.ok:
            out.line(f"        {result.step}: {result.error}" if result.step else f"        {result.error}")
    errors_seen = [*recording.console_new, *recording.requests_new, *recording.page_errors]
    for seen in errors_seen:
        out.line(f"        seen in the browser: {seen.text}")
    bad = [r.name for r in recording.results if not r.ok]
    what = f"failed: {', '.join(bad)}" if bad else ""
    if errors_seen and not bad:
        what = f"{words.counted(len(errors_seen), 'error')} in the browser that no scenario allows"
    return _end(what, "scenarios", told, directory, out)


def _end(what: str, mode: str, told: dict[str, Any], directory: Path, out: Output) -> int:
    """The verdict: said, and written beside what it is about. `what` is empty where all is well."""
    fields: dict[str, Any] = {"mode": mode, "directory": str(directory), **told}
    written = {"ok": not what, "reason": what, **fields}
    (directory / "verdict.json").write_text(json.dumps(written, indent=1) + "\n")
    shown = [directory / "video.mp4", directory / "trace.zip", directory / "verdict.json"]
    names = ", ".join(path.name for path in shown if path.exists())
    out.line(f"pictures, {names}: {directory}")
    if not what:
        out.result(**fields)
        return 0
    hint = f"Look at the pictures in {directory}; `factory logs --since 5m` is what the services said meanwhile."
    return out.failed(ValidationFailed(what=what, hint=hint), **fields)
