"""Which containers and volumes of an engine are of an environment of ours: told by their labels alone. No loop, no checkout needed."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from factory_contract.checkout import STATE
from factory_contract.compose.render import PROJECT_LABEL, USER_LABEL

QUICK = 5.0  # seconds that an engine has
KINDS = (("volume", "ls"), ("network", "ls"), ("image", "ls"))
CONFIG_LABEL = f"{PROJECT_LABEL}.config_files"  # Compose writes there which files it has read


class Container(NamedTuple):
    """A container of ours. `root`: the checkout that it was made for; `uid`: who has made it, None where that is not told."""

    name: str
    project: str
    root: Path
    uid: int | None


def containers(docker: Mapping[str, str]) -> list[Container] | None:
    """All of ours in the engine that the variables `docker` lead to, running or not; None where none answers."""
    labels = (PROJECT_LABEL, CONFIG_LABEL, USER_LABEL)
    columns = "\t".join(["{{.Names}}", *(f'{{{{.Label "{label}"}}}}' for label in labels)])
    lines = _ask(docker, "ps", "--all", "--filter", f"label={CONFIG_LABEL}", "--format", columns)
    if lines is None:
        return None
    found = []
    for line in lines:
        name, project, files, user = [*line.split("\t"), "", "", ""][:4]
        if root := _root(files, project):
            found.append(Container(name, project, root, int(user) if user.isdecimal() else None))
    return found


def remains(project: str, docker: Mapping[str, str]) -> bool:
    """Whether there is anything of a project: of one that is stopped volumes and images are. True where no engine answers."""
    if shutil.which("docker") is None:
        return False
    label = f"label={PROJECT_LABEL}={project}"
    said = [_ask(docker, *kind, "--quiet", "--filter", label) for kind in (("ps", "--all"), *KINDS)]
    return any(lines or lines is None for lines in said)


def _root(files: str, project: str) -> Path | None:
    """Of `<checkout>/.software-factory/compose/<project>.json`, where only our rewritten files are."""
    path = Path(files.partition(",")[0])
    ours = path.name == f"{project}.json" and path.parent.name == "compose" and path.parent.parent.name == STATE
    return path.parent.parent.parent if ours else None


def _ask(docker: Mapping[str, str], *argv: str) -> list[str] | None:
    if shutil.which("docker") is None:
        return None
    env = {**os.environ, **docker}
    try:
        done = subprocess.run(["docker", *argv], env=env, capture_output=True, text=True, timeout=QUICK, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.splitlines() if done.returncode == 0 else None
