"""The result of a run, whoever ran it."""

from typing import NamedTuple


class Failure(NamedTuple):
    """One test that failed; `message` is its last word."""

    name: str
    message: str


class Found(NamedTuple):
    """Counts and failures; `errors` of a runner (a module that cannot be imported) count as failed."""

    runner: str
    passed: int
    failed: int
    skipped: int
    failures: list[Failure]

    def plus(self, other: "Found") -> "Found":
        """Two runs of one suite taken together."""
        return Found(
            self.runner if self.runner == other.runner else f"{self.runner}, {other.runner}",
            self.passed + other.passed,
            self.failed + other.failed,
            self.skipped + other.skipped,
            [*self.failures, *other.failures],
        )
