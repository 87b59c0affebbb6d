"""Where in a file's patch a line stands: GitHub takes remarks only on lines that the difference shows."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

HUNK = re.compile(r"@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@")


@dataclass(frozen=True)
class Shown:
    """A line of a patch; `left` and `right` are its numbers before and after, None where it is not in that text."""

    position: int  # the line below the first @@ is 1
    hunk: str  # from its @@ to this line
    left: int | None
    right: int | None

    def number(self, side: str) -> int | None:
        return self.left if side == "LEFT" else self.right


def shown_lines(patch: str) -> Iterator[Shown]:
    """Every line of a patch that begins at its first @@."""
    left = right = 0
    hunk: list[str] = []
    for position, line in enumerate(patch.split("\n")):
        if found := HUNK.match(line):
            left, right, hunk = int(found[1]), int(found[2]), [line]
            continue
        hunk.append(line)
        if line.startswith("\\"):  # no newline at the end
            continue
        text = "\n".join(hunk)
        yield Shown(position, text, None if line[:1] == "+" else left, None if line[:1] == "-" else right)
        left += line[:1] != "+"
        right += line[:1] != "-"


def find_line(patch: str, number: int, side: str) -> Shown | None:
    return next((line for line in shown_lines(patch) if line.number(side) == number), None)


def find_position(patch: str, position: int) -> Shown | None:
    return next((line for line in shown_lines(patch) if line.position == position), None)
