"""`factory urls`: where the app answers; the ports are known once it was started."""

from typing import Any

from factory_contract import live
from factory_contract.checkout import Checkout
from factory_contract.errors import NotStarted
from factory_contract.output import Output


def run(checkout: Checkout, args: Any, out: Output) -> int:
    fields, _ = live.look(checkout)
    if fields["supervisor"] is None and not fields["services"]:
        raise NotStarted()
    out.result(urls=fields["urls"], state=fields["state"])
    width = max((len(u["service"]) for u in fields["urls"]), default=0)
    for url in fields["urls"]:
        out.line(f"{url['service'].ljust(width)}  {url['url']}{'  (primary)' if url['primary'] else ''}")
        for address in url.get("also", []):
            out.line(f"{' ' * width}  {address}")
    if fields["state"] != "ready":
        out.progress(f"(the app is {fields['state']})")
    return 0
