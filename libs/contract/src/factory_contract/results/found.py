"""What one run of one runner has found, and what the parsers share."""

import itertools
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

LONGEST = 500  # characters of a message
NEAR = 40  # lines below a name that are looked at for what it said


class Failure(NamedTuple):
    """One test that failed, or what kept tests from running; `message` is what it said, in a line."""

    name: str
    message: str


class Found(NamedTuple):
    """Counts and failures of one run. `where` is the package of a workspace that it ran in, "" where there is only one."""

    runner: str
    passed: int
    failed: int  # also what kept tests from running: a module that cannot be imported, a hook, an unhandled error
    skipped: int  # also todo, pending, ignored
    failures: list[Failure]
    where: str = ""

    @property
    def ran(self) -> int:
        return self.passed + self.failed

    def plus(self, other: "Found") -> "Found":
        """Both taken together, as one run."""
        passed, failed, skipped = self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped
        return self._replace(passed=passed, failed=failed, skipped=skipped, failures=[*self.failures, *other.failures])


def together(found: Iterable[Found]) -> list[Found]:
    """One for each runner in each package."""
    summed: dict[tuple[str, str], Found] = {}
    for one in found:
        key = one.runner, one.where
        summed[key] = summed[key].plus(one) if key in summed else one
    return list(summed.values())


class Run(NamedTuple):
    """One run in an output: its summary, and what stands around it."""

    before: str
    summary: re.Match[str]
    after: str


def runs(text: str, summary: re.Pattern[str], begin: re.Pattern[str] | None = None) -> Iterator[Run]:
    """Each run in `text`.

    From one `begin` to the next only the last summary is real: what stands before it was printed by a test, which may well
    run a runner of its own. Runners that announce no begin have as many runs as summaries.
    """
    if begin is None:
        found = [*summary.finditer(text)]
        edges = [0, *(match.end() for match in found)]
        for i, match in enumerate(found):
            end = found[i + 1].start() if i + 1 < len(found) else len(text)
            yield Run(text[edges[i] : match.start()], match, text[match.end() : end])
        return
    begins = sorted({0, len(text), *(match.start() for match in begin.finditer(text))})
    for start, end in itertools.pairwise(begins):
        part = text[start:end]
        if found := [*summary.finditer(part)]:
            yield Run(part[: found[-1].start()], found[-1], part[found[-1].end() :])


def counts(text: str) -> dict[str, int]:
    """`2 failed | 3 passed` and the like, by word."""
    return {word: int(n) for n, word in re.findall(r"(\d+) ([a-z]+)", text)}


def gist(lines: Iterable[str]) -> str:
    """What a failure says, in one line: its first, and what belongs to it (`…:` goes on, expected and received follow)."""
    said: list[str] = []
    for line in (line.strip() for line in lines):
        if not line or line == "(compared using ==)":
            continue
        if (
            said
            and not said[-1].endswith(":")
            and not re.match(r"(Expected|Received|expected|got|left|right)\b.*:", line)
        ):
            break
        said.append(line)
    return " ".join(said)[:LONGEST]
