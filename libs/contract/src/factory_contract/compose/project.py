"""One Compose project of this checkout: its file rendered and rewritten, its images and containers made, all of it removed."""

import asyncio
import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from factory_contract import checkout as checkouts
from factory_contract import state
from factory_contract.compose.engine import WHICH, Answer, Engine, reason
from factory_contract.compose.file import ComposeFile
from factory_contract.compose.members import Member
from factory_contract.compose.render import Binding, Config, Wanted, owned, rewrite
from factory_contract.environment import Environment
from factory_contract.errors import (
    ComposeInvalid,
    ComposeMissing,
    ComposeProjectTaken,
    ContainersFailed,
    ImageUnavailable,
)
from factory_contract.ledger import Ledger
from factory_contract.logs import Log

V1_HINT = "This is docker-compose v1, which does not know all that v2 does: install Docker Compose v2."


class Container(NamedTuple):
    """A container that was made. `test`: the command of its HEALTHCHECK, in it; empty without one. Times in seconds."""

    id: str
    test: list[str]
    interval: float
    timeout: float
    retries: int
    start_period: float


class Compose(NamedTuple):
    """The command, and whether it is of the first generation."""

    argv: list[str]
    v1: bool


class Project:
    """One Compose file of the contract, run for this checkout.

    say: gets what people should know while it is made. register: is told before anything of it is.
    """

    def __init__(
        self,
        path: str,
        file: ComposeFile,
        members: Mapping[str, Member],
        environment: Environment,
        engine: Engine,
        ledger: Ledger,
        log: Path,
        say: Callable[[str], None],
        register: Callable[["Project"], None],
    ) -> None:
        self.name = environment.compose_project(path)
        self.engine = engine
        self._path, self._file, self._members = path, file, members
        self._environment, self._ledger, self._say, self._register = environment, ledger, say, register
        self._log = Log(log)
        self._made: asyncio.Task[dict[str, Container]] | None = None
        self._something = False  # may be there
        self._compose: Compose | None = None

    # --- from the supervisor ------------------------------------------------------------------------------------------

    async def begin(self, names: Iterable[str]) -> None:
        """Begins to make the containers of these services, all of them in one go: two at once would race for the network."""
        await self._cut_short()
        self._made = asyncio.create_task(self._make(sorted(names)))
        self._made.add_done_callback(lambda made: made.cancelled() or made.exception())  # whoever waits looks

    async def container(self, service: str) -> Container:
        """The container of a service, when it is made. Raises whatever has kept it from being made."""
        assert self._made is not None
        return (await asyncio.shield(self._made))[service]

    async def leave(self, *, everything: bool = False) -> None:
        """Containers and networks go; named volumes stay, unless everything goes."""
        await self._cut_short()
        if self._something:
            await self.engine.remove(self.name, everything=everything)
            self._something = False
            self._ledger.removed(self.name)

    def has(self, service: str) -> bool:
        return service in self._members

    def close(self) -> None:
        self._log.close()

    async def _cut_short(self) -> None:
        if self._made is not None and not self._made.done():
            self._made.cancel()
            await asyncio.wait([self._made])

    # --- making -------------------------------------------------------------------------------------------------------

    async def _make(self, names: list[str]) -> dict[str, Container]:
        self._log.forget_tail()
        await self._refuse_others()
        compose = self._compose = self._compose or await self._find()
        config = await self._write(compose)
        self._ledger.made("compose", project=self.name, docker=self.docker)
        self._register(self)
        self._something = True
        argv = [*compose.argv, *self._flags([str(self._own_file)])]
        await self._pull(argv, {name: config["services"][name] for name in names})
        if any("build" in config["services"][name] for name in names):
            self._say(f"building the images of {self._path}")
        make = [*argv, "up", "--no-start", "--no-deps", "--build", *names]
        answer = await self._run(*make)
        if answer.code != 0:
            raise ContainersFailed(file=self._path, why=reason(answer.complaint), **self._tail())
        labelled = [(c["Config"]["Labels"], c) for c in await self.engine.containers(self.name)]
        # those of `docker compose run` bear the name of a service, too
        kept = [(labels, c) for labels, c in labelled if labels.get("com.docker.compose.oneoff") != "True"]
        return {labels["com.docker.compose.service"]: _container(c) for labels, c in kept}

    async def _refuse_others(self) -> None:
        """A project of this name that is somebody else's would be changed by us. Raises ComposeProjectTaken."""
        root = self._environment.root
        for container in await self.engine.containers(self.name):
            labels = container["Config"]["Labels"]
            where = labels.get("com.docker.compose.project.working_dir", "")
            if not Path(where).is_relative_to(root):
                raise ComposeProjectTaken(project=self.name, owner=where or container["Name"].lstrip("/"))

    async def _find(self) -> Compose:
        """`docker compose`, else `docker-compose`, which can be of either generation. Raises ComposeMissing, DockerMissing."""
        answer = await self.engine.run("docker", "compose", "version", "--short")
        if answer.code == 0:
            return Compose(["docker", "compose"], v1=False)
        if not self.engine.has("docker-compose"):
            raise ComposeMissing()
        answer = await self.engine.run("docker-compose", "version", "--short")
        return Compose(["docker-compose"], v1=answer.out.strip().lstrip("v").startswith("1."))

    async def _write(self, compose: Compose) -> Config:
        """Compose's own reading of the file, rewritten and written down. Raises ComposeInvalid and what `rewrite` does."""
        files = [str(path) for path in self._file.paths]
        ask = [*compose.argv, *self._flags(files), "config", *([] if compose.v1 else ["--format", "json"])]
        answer = await self.engine.run(*ask, cwd=self._environment.root, env=self._profiles, complaint=self._log.feed)
        if answer.code != 0:
            hint = V1_HINT if compose.v1 else ""
            command = " ".join(compose.argv)
            raise ComposeInvalid(
                file=self._path, why=reason(answer.complaint), command=command, hint=hint, **self._tail()
            )
        rendered = yaml.safe_load(answer.out) if compose.v1 else json.loads(answer.out)
        wanted = {name: self._wanted(name, member) for name, member in self._members.items()}
        known = self._environment.contract.services
        config, notes = rewrite(rendered, project=self.name, file=self._path, members=wanted, known=known)
        for note in notes:
            self._log.note(note)
            self._say(f"{self._path}: {note}")
        state.write(self._own_file, owned(config, os.getuid()))
        return config

    async def _pull(self, argv: list[str], services: Mapping[str, Config]) -> None:
        """Images that are not here. Raises ImageUnavailable, with the service that needs it."""
        absent = await self._absent(services)
        if not absent:
            return
        self._say(f"pulling {', '.join(absent.values())}")
        pull = [*argv, "pull", *absent]
        answer = await self._run(*pull)
        for service, image in (await self._absent({name: services[name] for name in absent})).items():
            raise ImageUnavailable(image=image, service=service, why=reason(answer.complaint), **self._tail())

    async def _absent(self, services: Mapping[str, Config]) -> dict[str, str]:
        """service → the image that it is run from, where that is not built and not here."""
        images = {name: str(s["image"]) for name, s in services.items() if "build" not in s and s.get("image")}
        seen = {image: await self.engine.run("docker", "image", "inspect", image) for image in set(images.values())}
        return {name: image for name, image in images.items() if seen[image].code != 0}

    def _wanted(self, name: str, member: Member) -> Wanted:
        environment = self._environment
        bindings = [Binding(environment.ports[port.name], port.target) for port in member.ports]
        env, own = environment.of(name), environment.contract.services[name].env
        return Wanted(bindings, {key: env[key] for key in own}, member.shut)

    # --- small --------------------------------------------------------------------------------------------------------

    @property
    def docker(self) -> dict[str, str]:
        """The variables that lead to its engine."""
        return {name: self.engine.env[name] for name in WHICH if name in self.engine.env}

    @property
    def _profiles(self) -> dict[str, str]:
        """All of them: Compose does not know a service of another profile, not even where one that it knows depends on it."""
        return {"COMPOSE_PROFILES": ",".join(self._file.profiles)}

    @property
    def _own_file(self) -> Path:
        return checkouts.compose_file(self._environment.root, self.name)

    def _flags(self, files: list[str]) -> list[str]:
        """The project's name, and the directory that paths and `.env` are looked for in, whatever file is read."""
        directory = str(self._file.paths[0].parent)
        named = [word for file in files for word in ("-f", file)]
        return ["-p", self.name, "--project-directory", directory, *named]

    async def _run(self, *argv: str) -> Answer:
        """What may take its time; all that it says is in the log."""
        log, root = self._log.feed, self._environment.root
        return await self.engine.run(*argv, cwd=root, env=self._profiles, timeout=None, output=log, complaint=log)

    def _tail(self) -> dict[str, Any]:
        return {"log": str(self._log.path), "log_tail": self._log.tail()}


def _container(inspected: dict[str, Any]) -> Container:
    config = inspected["Config"]
    check = config.get("Healthcheck") or {}
    kind, *test = check.get("Test") or ["NONE"]
    if kind == "NONE":
        test = []
    elif kind == "CMD-SHELL":
        test = [*(config.get("Shell") or ["/bin/sh", "-c"]), *test]
    seconds = {key: check.get(key, 0) / 1e9 for key in ("Interval", "Timeout", "StartPeriod")}
    return Container(
        inspected["Id"],
        test,
        interval=seconds["Interval"] or 30.0,
        timeout=seconds["Timeout"] or 30.0,
        retries=check.get("Retries") or 3,
        start_period=seconds["StartPeriod"],
    )
