"""Appends a line to a file again and again; run as a child of the scripted agent, it shows whether children die too."""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

LONGEST = 600.0  # seconds: a test that fails to end it must not fill the disk


def lines(who: str) -> Iterator[str]:
    """`who pid number unix-time`, one a call."""
    number, end = 0, time.monotonic() + LONGEST
    while time.monotonic() < end:
        number += 1
        yield f"{who} {os.getpid()} {number} {time.time():.3f}\n"


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


if __name__ == "__main__":
    for line in lines("child"):
        append(Path(sys.argv[1]), line)
        time.sleep(int(sys.argv[2]) / 1000)
