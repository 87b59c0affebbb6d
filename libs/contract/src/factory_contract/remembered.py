"""The contract as an earlier command has found it valid, while the file is the same: without YAML and pydantic, in a millisecond.

What is remembered is a tree of plain objects that have the attributes of the model's. A contract with Compose services is read
anew each time: it depends on other files as well.
"""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

from factory_contract import state
from factory_contract.checkout import Checkout
from factory_contract.errors import StateUnwritable

if TYPE_CHECKING:  # everything that this module is there to avoid
    from factory_contract.check import Loaded
    from factory_contract.model import Contract

FILE = "contract.json"
MODEL = "="  # the key that makes a mapping an object


class NoCompose(NamedTuple):
    """What `Joined` is where there are no Compose services."""

    files: dict[str, Any]
    members: dict[str, Any]
    missing: list[str]

    def of(self, path: str) -> list[str]:
        return []


class Remembered(NamedTuple):
    """As `Loaded`, without the tree."""

    contract: "Contract"
    ports: list[str]
    compose: NoCompose


def known(checkout: Checkout) -> Remembered | None:
    """The contract, if it is remembered."""
    key = _key(checkout)
    had = state.read(checkout.state_dir / FILE) if key is not None else None
    if had is None or had.get("key") != key:
        return None
    return Remembered(_objects(had["contract"]), had["ports"], NoCompose({}, {}, []))


def load(checkout: Checkout) -> "Loaded | Remembered":
    """The checkout's contract, valid. Raises what `check.load` does."""
    if (had := known(checkout)) is not None:
        return had
    from factory_contract import check

    loaded, key = check.load(checkout), _key(checkout)
    if key is not None and not (loaded.compose.files or loaded.compose.missing):
        try:
            checkout.make_state_dir()
            state.write(
                checkout.state_dir / FILE, {"key": key, "ports": loaded.ports, "contract": _plain(loaded.contract)}
            )
        except StateUnwritable:
            pass  # then it is read again
    return loaded


def _key(checkout: Checkout) -> list[str] | None:
    """The contract's text, and which code has read it; None where a file is not simply there."""
    if checkout.contract is None or checkout.contract.is_symlink():
        return None
    try:
        text = checkout.contract.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
    with os.scandir(Path(__file__).parent) as entries:
        code = sorted((e.name, e.stat().st_mtime_ns, e.stat().st_size) for e in entries if e.name.endswith(".py"))
    return [str(code), text]


def _plain(value: Any) -> Any:
    """The model as JSON has it, with what its properties say."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    fields = getattr(type(value), "model_fields", None)
    if fields is None:
        return value
    said = [name for name, what in vars(type(value)).items() if isinstance(what, property)]
    return {MODEL: {name: _plain(getattr(value, name)) for name in (*fields, *said)}}


def _objects(value: Any) -> Any:
    if isinstance(value, list):
        return [_objects(each) for each in value]
    if not isinstance(value, dict):
        return value
    made = {key: _objects(each) for key, each in value.items()}
    return SimpleNamespace(**made[MODEL]) if made.keys() == {MODEL} else made
