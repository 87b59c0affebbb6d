"""Two ways of doing the same, timed by turns: what one costs as a ratio of the other on a machine that is never quiet."""

import json
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LEAST = 7  # pairs; the median of fewer says little
Side = Callable[[], Awaitable[float]]  # does the work once and returns its seconds, of one operation


@dataclass(frozen=True)
class Comparison:
    """One line of a result. All that is said follows from the samples.

    `goal` is the largest ratio that is good; or the least, where `more` is better.
    """

    metric: str
    floor: str
    goal: float
    ours: list[float] = field(
        default_factory=list
    )  # in `unit`, ms in seconds; ours[n] was followed at once by theirs[n]
    theirs: list[float] = field(default_factory=list)
    unit: str = "ms"
    more: bool = False

    @property
    def ratios(self) -> list[float]:
        return [a / b for a, b in zip(self.ours, self.theirs, strict=True)]

    @property
    def ratio(self) -> float:
        """The median of the pairs' ratios: what slows both sides of a pair down leaves it as it was."""
        return statistics.median(self.ratios)

    @property
    def holds(self) -> bool:
        return self.ratio >= self.goal if self.more else self.ratio <= self.goal

    def median(self, side: list[float]) -> float:
        return statistics.median(side) * (1000 if self.unit == "ms" else 1)

    def as_dict(self) -> dict[str, Any]:
        return {
            "metric": self.metric,
            "value": round(self.median(self.ours), 4),
            "unit": self.unit,
            "floor": self.floor,
            "floor_value": round(self.median(self.theirs), 4),
            "ratio": round(self.ratio, 3),
            "goal": self.goal,
            "holds": self.holds,
        }


async def by_turns(
    metric: str, ours: Side, floor: str, theirs: Side, *, goal: float, pairs: int = 15, seconds: float = 8
) -> Comparison:
    """`pairs` pairs A B A B …, after one that only warms up; after `seconds` no more than LEAST of them."""
    await ours()
    await theirs()
    found = Comparison(metric, floor, goal)
    give_up = time.monotonic() + seconds
    while len(found.ours) < LEAST or (len(found.ours) < pairs and time.monotonic() < give_up):
        a, b = await ours(), await theirs()
        found.ours.append(a)
        found.theirs.append(b)
    return found


def write(found: Sequence[Comparison], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([c.as_dict() for c in found], indent=1, ensure_ascii=False) + "\n")


def table(found: Sequence[Comparison]) -> str:
    """For people: each metric with what it is held against beneath it."""
    width = max(len(text) for c in found for text in (c.metric, "/ " + c.floor))
    lines = [f"  {'':{width}}  {'':9}          ratio  (min–max of pairs)      goal"]
    for c in found:
        told, span = c.as_dict(), f"({min(c.ratios):.2f}–{max(c.ratios):.2f} of {len(c.ratios)})"
        verdict, bound = "holds" if c.holds else "DOES NOT HOLD", "≥" if c.more else "≤"
        lines.append(
            f"  {c.metric:{width}}  {told['value']:9.2f} {c.unit:6}  {c.ratio:5.2f}×  {span:22}  {bound} {c.goal:4.1f}×  {verdict}"
        )
        lines.append(f"  {'/ ' + c.floor:{width}}  {told['floor_value']:9.2f} {c.unit}")
    return "\n".join(lines)
