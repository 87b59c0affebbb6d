"""The docker command: asked by children of ours, with its answers as data and its failures by name."""

import asyncio
import json
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from factory_contract.compose.render import PROJECT_LABEL
from factory_contract.errors import DockerFailed, DockerMissing, EngineSilent

if TYPE_CHECKING:  # `status` asks without any children
    from factory_contract.process import Children

ANSWER = 60.0  # seconds that the engine has for what is done in one
QUICK = 5.0  # seconds that it has for `status`
GRACE = 5.0
WHICH = ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY")
# what the command says when nobody answers: by versions, by the kind of address, by permission
SILENT = (
    "Cannot connect to the Docker daemon",
    "error during connect",
    "failed to connect to the docker API",
    "permission denied while trying to connect",
)


class Answer(NamedTuple):
    """What a command has said, on stdout and on stderr."""

    code: int
    out: str
    complaint: str


class Engine:
    """One engine, as `env` leads to it. `label` names all that a project has made."""

    def __init__(self, children: "Children", env: Mapping[str, str], owner: str = "docker") -> None:
        self.env = dict(env)
        self._children, self._owner = children, owner

    def has(self, command: str) -> bool:
        return shutil.which(command, path=self.env.get("PATH")) is not None

    async def run(
        self,
        *argv: str,
        cwd: Path = Path("/"),
        env: Mapping[str, str] | None = None,
        timeout: float | None = ANSWER,
        output: Callable[[bytes], None] | None = None,
        complaint: Callable[[bytes], None] | None = None,
    ) -> Answer:
        """Runs a command to its end. `output` gets what it says instead of the answer, `complaint` what it complains as well.

        timeout: None for what may take its time; that is in the ledger, therefore. Raises DockerMissing, EngineSilent.
        """
        if not self.has(argv[0]):
            raise DockerMissing(command=argv[0])
        out, complained = bytearray(), bytearray()

        def complain(data: bytes) -> None:
            complained.extend(data)
            if complaint is not None:
                complaint(data)

        child = self._children.spawn(
            f"exec {shlex.join(argv)}",
            owner=self._owner,
            env={**self.env, **(env or {})},
            cwd=cwd,
            output=output or out.extend,
            errors=complain,
            beside=timeout is not None,
        )
        try:
            async with asyncio.timeout(timeout):
                code = await child.wait()
        except TimeoutError as e:
            raise EngineSilent(
                why=f"`{shlex.join(argv[:3])}` has not ended within {timeout:g} s", hint=self._wake("")
            ) from e
        finally:
            await asyncio.shield(self._children.end(child, grace=GRACE))
        said = complained.decode(errors="replace").strip()
        if code != 0 and (why := _silence(said)):
            raise EngineSilent(why=why, hint=self._wake(why))
        return Answer(code, out.decode(errors="replace"), said)

    def _wake(self, why: str) -> str:
        return how_to_wake(
            why, self.env.get("DOCKER_HOST", ""), sys.platform, systemd=Path("/run/systemd/system").is_dir()
        )

    async def ask(self, *argv: str) -> str:
        """`docker …`, which has to succeed. Raises DockerFailed too."""
        answer = await self.run("docker", *argv)
        if answer.code != 0:
            raise DockerFailed(command=shlex.join(["docker", *argv[:2]]), why=reason(answer.complaint))
        return answer.out

    async def containers(self, project: str) -> list[dict[str, Any]]:
        """Every container of a project, running or not, as `docker inspect` tells it."""
        ids = (await self.ask("ps", "--all", "--quiet", "--no-trunc", *_of(project))).split()
        return json.loads(await self.ask("inspect", *ids)) if ids else []

    async def inspect(self, container: str) -> dict[str, Any]:
        return json.loads(await self.ask("inspect", container))[0]

    async def stop(self, container: str, seconds: float | None) -> None:
        """Asks a container to end, and kills it after `seconds`, or after its own `stop_grace_period`."""
        wait = [] if seconds is None else ["-t", str(max(1, round(seconds)))]
        answer = await self.run("docker", "stop", *wait, container, timeout=(seconds or 0) + ANSWER * 5)
        if answer.code != 0 and "No such container" not in answer.complaint:
            raise DockerFailed(command="docker stop", why=reason(answer.complaint))

    async def remove(self, project: str, *, everything: bool) -> list[str]:
        """Ends and removes containers and networks, with `everything` volumes and built images too. The containers' names.

        By their label, so that neither the Compose file nor Compose itself is needed; volumes without a name go with their
        container, because nothing could find them later.
        """
        found = await self.containers(project)
        if found:
            ids = [container["Id"] for container in found]
            if running := [c["Id"] for c in found if c["State"].get("Running")]:
                await self.run("docker", "stop", *running, timeout=ANSWER * 5)
            await self.ask("rm", "--force", "--volumes", *ids)
        for kind in ("network", "volume", "image") if everything else ("network",):
            if ids := list(dict.fromkeys((await self.ask(kind, "ls", "--quiet", *_of(project))).split())):
                await self.ask(kind, "rm", *(["--force"] if kind == "image" else []), *ids)
        return sorted(container["Name"].lstrip("/") for container in found)


def _of(project: str) -> tuple[str, str]:
    return ("--filter", f"label={PROJECT_LABEL}={project}")


def _silence(said: str) -> str:
    """The line that says that no engine answers; empty where one does."""
    return next((line.strip() for line in said.splitlines() if any(sign in line for sign in SILENT)), "")


def how_to_wake(why: str, host: str, platform: str, *, systemd: bool) -> str:
    """What a person does about an engine that does not answer: the command that starts it on this kind of machine."""
    if "permission denied" in why:
        return "Join its group, `sudo usermod -aG docker $USER`, and sign in anew."
    if host:
        return f"DOCKER_HOST is {host}: start the engine there, or unset it for the one of this machine."
    on_linux = "sudo systemctl start docker" if systemd else "sudo service docker start"
    command = "open -a Docker" if platform == "darwin" else on_linux
    return f"Start it with `{command}` (`docker version` shows when it answers), then call this again."


def reason(complaint: str) -> str:
    """What a complaint says is wrong: from the last line that speaks of an error, else the last line."""
    lines = [line.strip() for line in complaint.splitlines() if line.strip()]
    told = [n for n, line in enumerate(lines) if re.search(r"\berror\b|\bfailed to\b", line, re.IGNORECASE)]
    if not lines:
        return "it said nothing"
    n = told[-1] if told else -1
    text = " ".join(lines[n : n + 3]) if lines[n].endswith(":") else lines[n]
    return re.sub(r"^(Error response from daemon|ERROR|error):\s*", "", text)


def names(project: str, env: Mapping[str, str]) -> list[str]:
    """The containers of a project, for `status`, which has no loop. Nothing where no engine answers at once."""
    import subprocess

    asked = ["docker", "ps", "--all", "--format", "{{.Names}}", *_of(project)]
    try:
        done = subprocess.run(asked, env=dict(env), capture_output=True, text=True, timeout=QUICK, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return sorted(done.stdout.split())
