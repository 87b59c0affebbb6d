"""`factory check`: is the contract valid? Nothing is run, no port leased."""

import argparse
from importlib.util import find_spec

from factory_contract import answers, check, scenarios
from factory_contract.checkout import Checkout
from factory_contract.model import Contract
from factory_contract.output import Output


def run(checkout: Checkout, args: argparse.Namespace, out: Output) -> int:
    loaded = check.load(checkout)
    contract = loaded.contract
    assert checkout.contract is not None
    services, suites = list(contract.services), list(contract.tests)
    played = _played(checkout, contract)
    out.result(
        **answers.Check(
            file=checkout.contract.name,
            name=contract.name,
            services=services,
            ports=loaded.ports,
            suites=suites,
            scenarios=played,
            missing=loaded.compose.missing,
            contract=contract.model_dump(by_alias=True),
        )
    )
    out.line(f"{checkout.contract.name} is valid: {contract.name}")
    out.line(f"  services   {', '.join(services) or '-'}")
    out.line(f"  ports      {', '.join(loaded.ports) or '-'}")
    out.line(f"  suites     {', '.join(suites) or '-'}")
    if played:
        out.line(f"  scenarios  {'; '.join(played)}")
    for path in loaded.compose.missing:
        out.progress(f"the Compose file {path} is not here: `start` needs it")
    return 0


def _played(checkout: Checkout, contract: Contract) -> list[str] | None:
    """The names of the scenarios; they and the login are judged by the browser's part, where that is installed."""
    if find_spec("factory_browser") is None:
        return None
    scenarios.login(checkout, contract)
    return [scenario.name for scenario in scenarios.load(checkout, contract)]
