"""The composed factory in a directory of its own: two chats, one repo, a scripted agent for each."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from engine import Engine
from images import Images

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
UID = 10001  # compose.yaml's
ADA = 1001
CHATS = {"one": -1003000000001, "two": -1003000000002}
PORTS = 60  # published for previews
T = TypeVar("T")

SCENARIO = """\
scenarios:
  - name: The heading says it
    criteria: [c1]
    steps:
      - goto: /
      - expect: {role: heading, name: WORD}
"""


def heading(word: str, *, test: str = "") -> list[dict[str, Any]]:
    """Steps that give the page another heading, with a test and a scenario for it."""
    proof = test or f"self.assertIn('<h1>{word}</h1>', notes.render([]))"
    source = f"import unittest\nimport notes\n\n\nclass Heading(unittest.TestCase):\n    def test_heading(self):\n        {proof}\n"
    return [
        {"run": f"sed -i 's#<h1>.*</h1>#<h1>{word}</h1>#' page.html"},
        {"write": {"path": "test_heading.py", "text": source}},
        {"write": {"path": ".software-factory/scenarios.yaml", "text": SCENARIO.replace("WORD", word)}},
    ]


def lingering(marker: str, seconds: float) -> list[dict[str, Any]]:
    """Says that the turn is under way, and takes its time, so that it can be met in the middle."""
    return [{"run": f"touch /tmp/{marker}"}, {"sleep": seconds}]


def scripts() -> dict[str, list[list[dict[str, Any]]]]:
    """The rounds of each chat's agent. The second one's second round builds on what its first has left."""
    return {
        "one": [[*heading("Lines"), *lingering("one", 8)]],
        "two": [
            heading("Jottings", test="self.fail('not yet')"),
            [{"run": "grep -q Jottings page.html"}, *lingering("two", 8), *heading("Jottings")],
        ],
    }


class Stack:
    """`up`, what is done with it, `down`."""

    def __init__(self, engine: Engine, images: Images, directory: Path) -> None:
        self.engine, self.images, self.directory = engine, images, directory
        self.project = f"factory-test-{images.tag}"
        self.canary = f"canary-{secrets.token_hex(8)}"
        low, twins = free_block(PORTS, 46_200), free_block(PORTS, 26_200)
        self.console = free_block(2, 24_000)
        self.env = engine.env | images.env | {
            "TEST_DIRECTORY": str(directory),
            "FACTORY_SECRETS": str(directory / "secrets"),
            "FACTORY_REPOS": str(directory / "repos"),
            "FACTORY_PROJECTS": str(directory / "factory-projects.yaml"),
            "FACTORY_CONSOLE_PORT": str(self.console),
            "FACTORY_INTAKE_PORT": str(self.console + 1),
            "FACTORY_PORT_RANGE": f"{low}-{low + PORTS - 1}",
            "FACTORY_PREVIEW_RANGE": f"{twins}-{twins + PORTS - 1}",
        }  # fmt: skip

    @property
    def public_url(self) -> str:
        return f"http://127.0.0.1:{self.console}"

    # ── what people prepare ───────────────────────────────────────────────────

    def prepare(self) -> None:
        """Secrets with canaries among them, the repo as a bare one, the projects, the agents' scripts."""
        argv = [str(ROOT / "scripts" / "compose-secrets"), str(self.directory / "secrets")]
        subprocess.run(argv, check=True, capture_output=True)
        tokens = {"telegram_token": "5000000003:", "github_token": "ghp_", "github_reviewer_token": "github_pat_"}
        for name, prefix in (tokens | {"api_token": ""}).items():
            (self.directory / "secrets" / name).write_text(f"{prefix}{self.canary}-{name}\n")
        self._repository(ROOT / "examples" / "notes")
        (self.directory / "scripts").mkdir()
        projects = {}
        for name, rounds in scripts().items():
            listed = [{"expect": [f"Round {n} of"], "say": f"Round {n}.", "do": do} for n, do in enumerate(rounds, 1)]
            (self.directory / "scripts" / f"{name}.yaml").write_text(
                yaml.safe_dump({"rounds": listed}, sort_keys=False)
            )
            agent = ["/opt/factory/bin/python", "-P", "-m", "factory_loopback.agent", f"/scripts/{name}.yaml"]
            projects[name] = {
                "chats": [CHATS[name]],
                "users": {ADA: "owner"},
                "repo": "/repos/notes.git",
                "agent": {"driver": "acp", "command": agent, "label": "Scripted agent"},
                "rounds": 3,
            }
        (self.directory / "factory-projects.yaml").write_text(yaml.safe_dump({"projects": projects}, sort_keys=False))

    def _repository(self, source: Path) -> None:
        tree, bare = self.directory / "seed", self.directory / "repos" / f"{source.name}.git"
        shutil.copytree(source, tree, ignore=shutil.ignore_patterns("__pycache__", ".software-factory"))
        git = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
        env = os.environ | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        for argv in (
            ["init", "-q", "-b", "main", str(tree)],
            ["-C", str(tree), "add", "-A"],
            ["-C", str(tree), "commit", "-q", "-m", "As it is"],
            ["clone", "-q", "--bare", str(tree), str(bare)],
        ):
            subprocess.run([*git, *argv], check=True, env=env, stdin=subprocess.DEVNULL)
        if os.geteuid() == 0:
            for path in (bare.parent, *bare.parent.rglob("*")):
                os.chown(path, UID, UID)
        else:  # the engine's machine is ours, but we may give nothing away
            subprocess.run(["chmod", "-R", "a+rwX", str(bare.parent)], check=True)

    # ── the stack ─────────────────────────────────────────────────────────────

    def compose(self, *argv: str, timeout: float = 600) -> str:
        """Raises CalledProcessError, with what it complained of."""
        files = ["compose.yaml", "tests/compose/compose.yaml"]
        if "MINIO_IMAGE" in self.images.env:
            files.append("tests/compose/standins/compose.yaml")
        command = ["compose", "--project-name", self.project, "--project-directory", str(ROOT)]
        command += [word for file in files for word in ("--file", str(ROOT / file))]
        return Engine(self.env).run(*command, *argv, timeout=timeout)

    def up(self) -> None:
        """All services, three planners and two reviewers; returns when each is healthy."""
        self.compose("up", "--detach", "--no-build", "--wait", "--scale", "planner=3", "--scale", "reviewer=2")

    def down(self) -> None:
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", "60")
        if os.geteuid() != 0:  # what the containers have made in it belongs to their user
            image, repos = f"factory-test/service:{self.images.tag}", self.directory / "repos"
            give = ("chown", "-R", f"{os.getuid()}:{os.getgid()}", "/repos")
            self.engine.run("run", "--rm", "--user", "0", "--volume", f"{repos}:/repos", image, *give)

    def containers(self, *, all: bool = True) -> list[str]:
        label = f"label=com.docker.compose.project={self.project}"
        return self.engine.run("ps", *(["--all"] if all else []), "--quiet", "--filter", label).split()

    def inspect(self, service: str, form: str) -> list[str]:
        """Of each of the service's containers."""
        ids = self.compose("ps", "--all", "--quiet", service).split()
        return self.engine.run("inspect", "--format", form, *ids).split("\n")[: len(ids)]

    def port(self, service: str, inside: int) -> int:
        return int(self.compose("port", service, str(inside)).rpartition(":")[2])

    def inside(self, service: str, *argv: str) -> str:
        return self.compose("exec", "--no-TTY", service, *argv)

    def has(self, service: str, path: str) -> bool:
        try:
            self.inside(service, "test", "-e", path)
        except subprocess.CalledProcessError:
            return False
        return True

    async def job(self, job_id: str) -> dict[str, Any]:
        """Its row."""
        return json.loads(await asyncio.to_thread(self.inside, "console", "factoryctl", "show", job_id, "--json"))[
            "job"
        ]

    async def jobs(self) -> list[dict[str, Any]]:
        listed = await asyncio.to_thread(self.inside, "console", "factoryctl", "jobs", "--all", "--json")
        return json.loads(listed)["jobs"]


async def until(look: Callable[[], Awaitable[T | None]], seconds: float, what: str) -> T:
    """What it gave at last. Raises TimeoutError."""
    end = time.monotonic() + seconds
    while True:
        if found := await look():
            return found
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds:.0f} s: {what}")
        await asyncio.sleep(0.5)


def free_block(count: int, start: int) -> int:
    """The first of `count` ports in a row that nobody has."""
    for low in range(start, start + 5000, count):
        try:
            for port in range(low, low + count):
                with socket.socket() as s:
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    s.bind(("127.0.0.1", port))
        except OSError:
            continue
        return low
    raise OSError(f"no {count} ports in a row are free from {start} on")
