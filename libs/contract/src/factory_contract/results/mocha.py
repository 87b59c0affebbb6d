"""mocha's epilogue, the same for all its reporters: `  3 passing (7ms)`, `  2 pending`, `  1 failing`, then what failed."""

import re

from factory_contract.results.found import NEAR, Failure, Found, counts, gist, runs

SIGNS = (" passing", "No test files found")
SUMMARY = re.compile(
    r"^  (?P<passing>\d+) passing(?: \(\d+\w+\))?\n(?P<more>(?:  \d+ (?:pending|failing)\n)*)|^Error: No test files found",
    re.MULTILINE,
)
HEAD = re.compile(r"  \d+\) (.+)")


def parse(text: str) -> list[Found]:
    found: list[Found] = []
    for run in runs(text, SUMMARY):
        said = counts(run.summary["more"] or "")
        failed = said.get("failing", 0)  # also hooks
        failures = _failures(run.after.split("\n"))[:failed]
        found.append(Found("mocha", int(run.summary["passing"] or 0), failed, said.get("pending", 0), failures))
    return found


def _failures(lines: list[str]) -> list[Failure]:
    """`  1) suite`, deeper `suite`, deeper `test:`, then what it said."""
    found: list[Failure] = []
    for i, line in enumerate(lines):
        head = HEAD.fullmatch(line)
        if head is None:
            continue
        title = [head[1]]
        for said in lines[i + 1 : i + NEAR]:
            if title[-1].endswith(":") or not said.strip():
                break
            title.append(said.strip())
        name = " > ".join(title).removesuffix(":")
        found.append(Failure(name, gist(lines[i + len(title) : i + len(title) + NEAR])))
    return found
