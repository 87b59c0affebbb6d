"""`python -m factory_contract` is the `factory` command."""

from factory_contract.entry import run

run()
