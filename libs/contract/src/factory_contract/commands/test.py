"""`factory test`: runs the named suites, or all, and says what they have found."""

import argparse
import sys
from typing import Any

from factory_contract import foreground, leasing, suites, words
from factory_contract.checkout import Checkout
from factory_contract.errors import NoSuchSuite, NoSuites, TestsFailed
from factory_contract.ledger import Ledger
from factory_contract.output import Output
from factory_contract.process import Children

NAMED = 20  # failures of a suite that a person is shown
LAST = 10  # lines of its output


def run(checkout: Checkout, args: argparse.Namespace, out: Output) -> int:
    return foreground.run(_run(checkout, args.suites, out))


async def _run(checkout: Checkout, names: list[str], out: Output) -> int:
    checkout.make_state_dir()
    environment = leasing.borrow(checkout)
    known = environment.contract.tests
    if not known:
        assert checkout.contract is not None
        raise NoSuites(file=checkout.contract.name)
    for name in names:
        if name not in known:
            raise NoSuchSuite(suite=name, hint=words.suggestion(name, known))
    done: list[dict[str, Any]] = []
    async with Children(Ledger(checkout.ledger_file, checkout.root)) as children:
        for name in names or known:

            def begin(command: str, name: str = name) -> None:
                out.progress(out.paint("bold", f"{name}: {command}"))

            done.append(await suites.run(name, checkout, environment, children, echo=out.echo, begin=begin))
            out.progress("")
    _show(done, out)
    bad = [suite["suite"] for suite in done if not suite["ok"]]
    if bad:
        what = (
            f"{len(bad)} of {len(done)} suites failed: {', '.join(bad)}"
            if len(done) > 1
            else f"the suite {bad[0]} failed"
        )
        return out.failed(
            TestsFailed(what=what, hint=f"The whole output is under {checkout.logs / 'tests'}."), suites=done
        )
    out.result(suites=done)
    return 0


def _show(done: list[dict[str, Any]], out: Output) -> None:
    """A line for each suite; below it the packages that its counts are the sum of, what failed, and the last that it said."""
    width = max(len(suite["suite"]) for suite in done)
    red = out.paint("red", "✗", sys.stdout)
    for suite in done:
        verdict = out.paint("green", "ok    ", sys.stdout) if suite["ok"] else out.paint("red", "failed", sys.stdout)
        counts = _counts(suite) if suite["runner"] else f"exit code {suite['exit_code']}"
        note = f"  ({suite['note']})" if suite["note"] else ""
        out.line(f"{suite['suite'].ljust(width)}  {verdict}  {counts}  {suite['seconds']:.1f} s{note}")
        for run in suite["runs"] if len(suite["runs"]) > 1 else ():
            place = f"{run['where']} ({run['runner']})" if run["where"] else run["runner"]
            out.line(f"  {place}: {_counts(run)}")
        for failure in suite["failures"][:NAMED]:
            said = f": {failure['message']}" if failure["message"] else ""
            out.line(f"  {red} {failure['name']}{said}")
        if (more := len(suite["failures"]) - NAMED) > 0:
            out.line(f"  … and {more} more")
        said = [line for line in suite["tail"] if line.strip()]
        for line in said[-LAST:] if not suite["ok"] else ():
            out.line(out.paint("dim", f"  | {line}", sys.stdout))


def _counts(one: dict[str, Any]) -> str:
    told = [f"{one[what]} {what}" for what in ("passed", "failed", "skipped") if one[what]]
    return ", ".join(told) or "no test"
