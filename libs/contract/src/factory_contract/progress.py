"""The live view of services that come and go: a line on stderr for each change, with the time since the begin."""

import time
from typing import Any

from factory_contract.output import Output


class Progress:
    """Shows the events of a supervisor."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._begun = time.monotonic()
        self._shown: dict[str, str] = {}

    def __call__(self, event: dict[str, Any]) -> None:
        if "service" in event:
            self._service(event)
        elif "seed" in event:
            self._out.progress(f"  seed: {event['seed']}")
        elif "note" in event:
            self._out.progress(f"  {event['note']}")
        elif "leftovers" in event:
            self._out.progress(
                f"  ending what an earlier supervisor has left: {', '.join(map(str, event['leftovers']))}"
            )

    def _service(self, event: dict[str, Any]) -> None:
        name, state = event["service"], event["state"]
        if state == "pending" or self._shown.get(name) == state:
            return
        self._shown[name] = state
        seconds = f"{time.monotonic() - self._begun:6.1f} s"
        url = event.get("url") or ""
        shown = url if state == "ready" else ""
        self._out.progress(f"{self._out.dim(seconds)}  {name.ljust(12)}  {self._out.state(state, 9)}  {shown}".rstrip())
