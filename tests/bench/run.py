"""Runs the benches, or the one that is named. Exit code 0 whatever they find; 1 where one broke, 2 where there is none.

A bench is a file beside this one with `async def measure(directory: Path) -> list[Comparison]`; the directory is empty
and its own, and goes when it returns. What it starts it ends, however it is left.
"""

import asyncio
import importlib
import os
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

import pairs

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parents[1] / "var" / "bench"
HELPERS = ("run", "pairs", "procs")
BENCHES = sorted(p.stem for p in HERE.glob("*.py") if p.stem not in HELPERS and not p.stem.startswith("test_"))
LIMIT = 60.0  # seconds for one bench that has no LIMIT of its own


def main(names: list[str]) -> int:
    if unknown := [name for name in names if name not in BENCHES]:
        print(f"there is no bench {unknown[0]!r}; there are: {', '.join(BENCHES)}", file=sys.stderr)
        return 2
    broken = [name for name in names or BENCHES if not run(name)]
    if broken:
        print(f"broken: {', '.join(broken)}", file=sys.stderr)
    return 1 if broken else 0


def run(name: str) -> bool:
    """One bench, its table and its file. False where it broke: then there is no file, not even an older one."""
    result = RESULTS / f"{name}.json"
    result.unlink(missing_ok=True)
    RESULTS.mkdir(parents=True, exist_ok=True)
    begun, load = time.monotonic(), os.getloadavg()[0]
    try:
        # on the disk of the checkout: /tmp may be memory, where no fsync costs anything
        with tempfile.TemporaryDirectory(prefix=f"{name}-", dir=RESULTS) as directory:
            found = asyncio.run(_measured(name, Path(directory)))
    except Exception:
        traceback.print_exc()
        return False
    pairs.write(found, result)
    print(f"{name}: {time.monotonic() - begun:.0f} s on {os.cpu_count()} cores, load {load:.1f} at its begin")
    print(pairs.table(found), end="\n\n", flush=True)
    return True


async def _measured(name: str, directory: Path) -> list[pairs.Comparison]:
    """Raises TimeoutError after its LIMIT. On SIGTERM and Ctrl-C the bench's own `finally` runs before the exit."""
    bench = importlib.import_module(name)
    seconds = getattr(bench, "LIMIT", LIMIT)
    loop, told, limit = asyncio.get_running_loop(), list[int](), asyncio.timeout(seconds)
    me = asyncio.current_task()
    assert me is not None
    for sig in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sig, lambda sig=sig: (told.append(sig), me.cancel()))
    try:
        async with limit:
            return await bench.measure(directory)
    except TimeoutError as e:
        if limit.expired():
            e.add_note(f"{name} had to end within {seconds:.0f} s")
        raise
    except asyncio.CancelledError:
        if not told:
            raise
        sys.exit(128 + told[0])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
