"""`factory` alone: what there is here, and what to do next."""

import argparse
from pathlib import Path

from factory_contract import checkout, live
from factory_contract.errors import NoContract
from factory_contract.output import Output

SMALLEST = """\
  name: shop
  setup: npm ci
  services:
    web:
      command: npm run dev -- --port ${WEB_PORT}   # a port that is free, leased by its name
      url: http://localhost:${WEB_PORT}
  tests:
    unit: npm test
"""
STEPS = (
    ("check", "is factory.yaml valid? Nothing is run"),
    ("setup", "install what the repo needs"),
    ("start", "start its services, wait until they are ready"),
    ("status, urls, logs", "what runs, where it answers, what it says"),
    ("test", "run the tests"),
    ("validate", "open the app in a browser, with pictures and film"),
    ("restart, stop", "after a change; when you are done"),
    ("clean", "give the ports back, remove state and logs"),
)


def run(args: argparse.Namespace, out: Output) -> int:
    out.line("factory makes a repo runnable and testable, by what its factory.yaml says.")
    out.line()
    try:
        here = checkout.find(Path(args.directory))
    except NoContract as e:
        out.line(f"There is no factory.yaml here yet. {'' if e.hint == NoContract.hint else e.hint}".rstrip())
        out.line("This is a small one; it stands at the top of the repo:")
        out.line()
        out.line(SMALLEST)
        following = "write that file, then `factory check`"
    else:
        situation = live.look(here)
        state = situation.fields["state"]
        out.line(f"  {here.contract or here.root / checkout.SCRIPT}  is {out.state(state)}")
        out.line()
        following = _next(state, started=bool(situation.fields["services"]), hint=getattr(situation.error, "hint", ""))
    width = max(len(verbs) for verbs, _ in STEPS)
    for verbs, about in STEPS:
        out.line(f"  factory {verbs.ljust(width)}  {about}")
    out.line()
    out.line(f"Next: {following}")
    out.line("More: `factory --help`, and `factory start --help` for examples of each command.")
    return 0


def _next(state: str, *, started: bool, hint: str) -> str:
    if state == "ready":
        return "`factory urls`, `factory test`, `factory validate`"
    if state == "starting":
        return "`factory start` waits until it is ready"
    if state == "stopped":
        return "`factory start`" if started else "`factory setup`, then `factory start`"
    return hint or "`factory status` says what is wrong"
