"""`factory status`: what runs, and how it is. Exit code 0 only when all is ready."""

import sys
from typing import Any

from factory_contract import live
from factory_contract.checkout import Checkout
from factory_contract.errors import Unhealthy
from factory_contract.output import Output


def run(checkout: Checkout, args: Any, out: Output) -> int:
    fields, error = live.look(checkout)
    ready = fields["state"] == "ready"
    told = {} if error is None else {"error": {k: v for k, v in error.as_dict().items() if k != "exit_code"}}
    out.result(ok=ready, **fields, **told)
    if not out.as_json:
        show(fields, out)
        if error is not None:
            out.explain(error)
    return 0 if ready else Unhealthy.exit_code


def show(fields: dict[str, Any], out: Output) -> None:
    """The table for people."""
    out.line(f"{fields['worktree']}: {out.state(fields['state'], to=sys.stdout)}")
    services: list[dict[str, Any]] = fields["services"] or []
    also = {u["service"]: u.get("also", []) for u in fields["urls"]}
    width = max((len(s["name"]) for s in services), default=0)
    for s in services:
        facts = [
            f"pid {s['pid']}" if s["pid"] else "",
            s["url"] or " ".join(f"{name}={port}" for name, port in s["ports"].items()),
            f"exit code {s['exit_code']}" if s["exit_code"] and s["state"] != "stopped" else "",
            f"restarted {s['restarts']}x" if s["restarts"] else "",
            "its log has lost lines" if s.get("log_bytes_lost") else "",
            s["health"]["detail"] if s["health"] and not s["health"]["ok"] and s["state"] != "stopped" else "",
        ]
        state = out.state(s["state"], 9, to=sys.stdout)
        out.line(f"  {s['name'].ljust(width)}  {state}  {'  '.join(f for f in facts if f)}".rstrip())
        for address in also.get(s["name"], []):
            out.line(f"  {' ' * width}  {' ' * 9}  also {address}")
