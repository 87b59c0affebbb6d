"""`python -P -m factory_loopback.agent SCRIPT.yaml`: serves the script on stdio; exit code 2 for a broken script."""

import asyncio
import sys
from pathlib import Path
from typing import cast

import acp

from factory_loopback.agent.script import ScriptError, read_script
from factory_loopback.agent.scripted import ScriptedAgent


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        sys.stderr.write("usage: python -P -m factory_loopback.agent SCRIPT.yaml\n")
        return 2
    try:
        script = read_script(Path(arguments[0]))
    except ScriptError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    agent = cast(acp.Agent, ScriptedAgent(script))  # what it does not offer, the SDK refuses
    asyncio.run(acp.run_agent(agent))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
