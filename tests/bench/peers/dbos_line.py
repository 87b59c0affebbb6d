"""The same line as a workflow of DBOS: `dbos_line.py DATABASE_URL STEPS`.

Reads `{"jobs": n, "at_once": n}` a line and answers with `{"seconds": s, "each": [s, …]}`; the first line says `ready`.
https://docs.dbos.dev/python/tutorials/workflow-tutorial
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count

from dbos import DBOS, SetWorkflowID

URL, STEPS = sys.argv[1], int(sys.argv[2])
PAYLOAD = {"base_sha": "0123456789" * 4, "branch": "factory/jaaaaaaaaaa-a-blue-button"}
DBOS(config={"name": "line", "system_database_url": URL, "run_admin_server": False, "log_level": "ERROR"})


@DBOS.step()
def state(n: int) -> dict[str, str]:
    return PAYLOAD


@DBOS.workflow()
def line(title: str) -> str:
    for n in range(STEPS):
        state(n)
    return title


def one(name: str) -> float:
    begun = time.perf_counter()
    with SetWorkflowID(name):
        line("A blue button")
    return time.perf_counter() - begun


def main() -> None:
    DBOS.launch()
    names = count()
    print("ready", flush=True)
    for asked in sys.stdin:
        wanted = json.loads(asked)
        begun = time.perf_counter()
        with ThreadPoolExecutor(wanted["at_once"]) as pool:
            each = list(pool.map(one, [f"job-{next(names)}" for _ in range(wanted["jobs"])]))
        print(json.dumps({"seconds": time.perf_counter() - begun, "each": each}), flush=True)
    DBOS.destroy()


if __name__ == "__main__":
    main()
