"""A repo's own implementation of the verbs: `implementation: ./factory.sh`, or a factory.sh where there is no yaml.

It gets FACTORY_INSIDE=1, and with that set the `factory` command answers itself, so the script may call it.
"""

import os

from factory_contract.checkout import SCRIPT, Checkout, is_program
from factory_contract.errors import ForeignContract, ImplementationMissing, InvalidContract, NoContract

READ = 64 * 1024


def take_over(checkout: Checkout, argv: list[str]) -> None:
    """Becomes the repo's own implementation where there is one; else returns. Raises ImplementationMissing, NoContract."""
    if os.environ.get("FACTORY_INSIDE"):
        if checkout.contract is None:
            raise NoContract(
                directory=str(checkout.root), hint=f"{SCRIPT} has called `factory`, which needs a factory.yaml."
            )
        return
    script = _script(checkout)
    if script is None:
        return
    path = checkout.root / script
    if not is_program(path):
        raise ImplementationMissing(file=script)
    os.chdir(checkout.root)
    os.execve(path, [str(path), *argv], {**os.environ, "FACTORY_INSIDE": "1"})


def _script(checkout: Checkout) -> str | None:
    """The program that answers in our place, below the top of the repo."""
    if checkout.contract is None:
        return SCRIPT
    with checkout.contract.open("rb") as f:
        written = f.read(READ)
    # a look at the bytes first: reading YAML costs more than `status` may
    if not any(word in written for word in (b"implementation", b"schemaVersion")):
        return None
    from factory_contract import check

    try:
        return check.load(checkout).contract.script
    except ForeignContract:
        if is_program(checkout.root / SCRIPT):
            return SCRIPT  # the yaml is another product's
        raise
    except InvalidContract:
        return None  # who needs it says so; `stop` and `clean` don't
