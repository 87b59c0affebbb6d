"""Whether a token can be seen where people look at containers: their descriptions, their layers, logs, command lines."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from urllib.parse import quote

from engine import Engine
from stack import Stack


def forms(secret: str) -> set[str]:
    """In clear, URL-encoded, and base64 wherever it begins in a longer text (without the ends, which neighbours change)."""
    shifted = {base64.b64encode(b"\0" * n + secret.encode()).decode()[(4 if n else 0) : -4] for n in range(3)}
    return {secret, quote(secret, safe=""), *shifted}


def places(engine: Engine, stack: Stack, images: list[str]) -> Iterator[tuple[str, str]]:
    """(Where, what is to be read there)."""
    containers = stack.containers()
    for each in containers:
        yield f"docker inspect {each}", engine.run("inspect", each)
        yield f"docker logs {each}", engine.run("logs", each, both=True)
    for each in stack.containers(all=False):
        yield f"docker top {each}", _without_the_loopback(engine.run("top", each, "-eo", "pid,args"))
    for image in images:
        yield f"docker history {image}", engine.run("history", "--no-trunc", image) + engine.run("inspect", image)


def found(engine: Engine, stack: Stack, images: list[str], secrets: dict[str, str]) -> list[str]:
    """Where which secret is."""
    wanted = {form: name for name, secret in secrets.items() for form in forms(secret)}
    return [
        f"{where}: {name}"
        for where, text in places(engine, stack, images)
        for name in sorted({name for form, name in wanted.items() if form in text})
    ]


def _without_the_loopback(processes: str) -> str:
    """Who plays Telegram has to be told the token that it is to expect."""
    return "\n".join(line for line in processes.splitlines() if "factory_loopback.telegram" not in line)
