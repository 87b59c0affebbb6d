"""A container engine to test with: the one that answers, else Debian's own, started by hand and ended again."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

Say = Callable[[str], None]

WANTED = {"dockerd": "docker.io", "docker": "docker.io", "iptables": "iptables", "debootstrap": "debootstrap"}
COMPOSE = (2, 24)  # env_file with `required`
PLUGINS = ("docker-compose", "docker-buildx")  # Debian's packages since trixie; they need no newer libc than bookworm's


class NoEngine(Exception):
    """There is none to be had here; why."""


class Engine:
    """The docker command, and where it looks."""

    def __init__(self, env: dict[str, str], *, ours: bool = False) -> None:
        self.env, self.ours = env, ours

    def run(self, *argv: str, check: bool = True, timeout: float = 900, both: bool = False) -> str:
        """What it printed; with `both` also what it complained of. Raises CalledProcessError with the latter."""
        done = subprocess.run(
            ["docker", *argv], env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if both else subprocess.PIPE, text=True, timeout=timeout,
        )  # fmt: skip
        if check and done.returncode:
            raise subprocess.CalledProcessError(done.returncode, ["docker", *argv], done.stdout, done.stderr)
        return done.stdout

    def can(self, *argv: str) -> bool:
        return not subprocess.run(["docker", *argv], env=self.env, capture_output=True, timeout=300).returncode


@contextmanager
def engine(say: Say) -> Iterator[Engine]:
    """Raises NoEngine."""
    there = Engine(dict(os.environ))
    if shutil.which("docker") and there.can("version"):
        if not has_plugins(there):
            raise NoEngine(f"docker answers, but without Compose {'.'.join(map(str, COMPOSE))} or buildx")
        yield there
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise NoEngine("no container engine answers, and only root on Debian can start one here")
    install(say)
    if there.can("version") and has_plugins(there):  # where installing it has started it
        yield there
        return
    with ExitStack() as undo:
        yield start(undo, say)


def has_plugins(engine: Engine) -> bool:
    if not (engine.can("compose", "version") and engine.can("buildx", "version")):
        return False
    found = re.search(r"(\d+)\.(\d+)", engine.run("compose", "version", "--short"))
    return found is not None and (int(found[1]), int(found[2])) >= COMPOSE


def install(say: Say) -> None:
    """What is missing, by apt; nothing of it is started where the machine's policy says so, or has no init."""
    missing = sorted({package for program, package in WANTED.items() if not shutil.which(program)})
    if missing:
        say(f"installing {' '.join(missing)} with apt-get")
        apt("update")
        apt("install", "-y", "--no-install-recommends", *missing)


def apt(*argv: str, cwd: Path | None = None) -> None:
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(
        ["apt-get", "-q", *argv], env=env, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if done.returncode:
        raise NoEngine(f"apt-get {' '.join(argv[:1])} failed: {done.stderr.strip()[-300:]}")


def start(undo: ExitStack, say: Say) -> Engine:
    """dockerd with everything of it in one directory. It touches no rule of the machine's network, nor forwards anything:
    containers of one network reach each other, this machine reaches what they publish, and builds use its own network.
    """
    if kept_apart():
        raise NoEngine("this machine's rules keep containers apart (FORWARD DROP): does another engine run here?")
    directory = Path(tempfile.mkdtemp(prefix="factory-engine-", dir="/var/tmp"))
    undo.callback(remove, directory)
    socket = f"unix://{directory}/docker.sock"
    engine = Engine(os.environ | {"DOCKER_HOST": socket, "DOCKER_CONFIG": str(directory / "config")}, ours=True)
    if not has_plugins(engine):
        say("fetching Compose and buildx from Debian trixie")
        unpack_plugins(directory)
    with (directory / "dockerd.log").open("wb") as log:
        process = subprocess.Popen(
            ["dockerd", "--data-root", f"{directory}/data", "--exec-root", f"{directory}/exec", "-H", socket,
             "--pidfile", f"{directory}/dockerd.pid", "--bridge=none", "--iptables=false", "--ip6tables=false",
             "--ip-forward=false"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    undo.callback(end, process)
    until = time.monotonic() + 60
    while not engine.can("version"):
        if process.poll() is not None or time.monotonic() > until:
            raise NoEngine("dockerd does not start: " + (directory / "dockerd.log").read_text()[-500:])
        time.sleep(0.1)
    undo.callback(empty, engine)
    say(f"engine {engine.run('version', '--format', '{{.Server.Version}}').strip()} started by hand")
    return engine


def empty(engine: Engine) -> None:
    """What a test that broke off has left: a network's bridge would outlive the engine."""
    if containers := engine.run("ps", "--all", "--quiet", check=False).split():
        engine.run("rm", "--force", *containers, check=False)
    engine.run("network", "prune", "--force", check=False)


def kept_apart() -> bool:
    """Whether what crosses a bridge goes through the rules, and those of another engine let nothing through."""
    bridged = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    if not bridged.exists() or bridged.read_text().strip() == "0":
        return False
    return "-P FORWARD DROP" in subprocess.run(["iptables", "-S", "FORWARD"], capture_output=True, text=True).stdout


def end(process: subprocess.Popen[bytes]) -> None:
    """It ends its containerd and its containers itself."""
    process.terminate()
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def remove(directory: Path) -> None:
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in sorted((m for m in mounts if m.startswith(f"{directory}/")), reverse=True):
        subprocess.run(["umount", "--lazy", mount], capture_output=True)
    shutil.rmtree(directory)


# ── the machine's package sources ─────────────────────────────────────────────


def sources() -> list[tuple[str, list[str], list[str]]]:
    """(URI, suites, components) of this machine's own Debian release, in the order apt reads them."""
    release = dict(
        line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if line.count("=") >= 1
    )
    codename = release.get("VERSION_CODENAME", "").strip('"')
    etc = Path("/etc/apt")
    found: list[tuple[str, list[str], list[str]]] = []
    for path in [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*.list"))]:
        for line in path.read_text().splitlines() if path.exists() else []:
            if match := re.match(r"deb\s+(?:\[[^]]*\]\s+)?(\S+)\s+(\S+)\s+(.+)", line):
                found.append((match[1], [match[2]], match[3].split()))
    for path in sorted((etc / "sources.list.d").glob("*.sources")):
        for stanza in re.split(r"\n\s*\n", path.read_text()):
            fields = dict(re.findall(r"^([A-Za-z-]+):\s*(.*)$", stanza, re.M))
            for uri in fields.get("URIs", "").split():
                found.append((uri, fields.get("Suites", "").split(), fields.get("Components", "").split()))
    return [(uri, suites, parts) for uri, suites, parts in found if any(s.startswith(codename) for s in suites)]


def stanza(uri: str, suites: list[str], components: list[str]) -> str:
    """In apt's deb822 form, signed by Debian's archive keys: man sources.list."""
    keys = "/usr/share/keyrings/debian-archive-keyring.gpg"
    lines = (f"URIs: {uri}", f"Suites: {' '.join(suites)}", f"Components: {' '.join(components)}", f"Signed-By: {keys}")
    return "Types: deb\n" + "\n".join(lines) + "\n"


def unpack_plugins(directory: Path) -> None:
    """Downloaded and unpacked, not installed; the newer release is told to apt for these calls alone."""
    here = directory / "plugins"
    for part in ("parts", "lists/partial", "config/cli-plugins"):
        (here / part).mkdir(parents=True)
    uri, _, _ = (sources() or [("", [], [])])[0]
    if not uri:
        raise NoEngine("apt's sources name no Debian archive to fetch Compose from")
    (here / "parts" / "trixie.sources").write_text(stanza(uri, ["trixie"], ["main"]))
    options = [
        "-o", "Dir::Etc::sourcelist=/dev/null", "-o", f"Dir::Etc::sourceparts={here}/parts",
        "-o", f"Dir::State::lists={here}/lists", "-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache=",
        "-o", "APT::Sandbox::User=root",
    ]  # fmt: skip
    apt(*options, "update")
    apt(*options, "download", *PLUGINS, cwd=here)
    plugins = directory / "config" / "cli-plugins"
    plugins.mkdir(parents=True)
    for package in here.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", str(package), str(here / "unpacked")], check=True)
    for plugin in here.glob("unpacked/usr/libexec/docker/cli-plugins/*"):
        shutil.move(plugin, plugins)
    shutil.rmtree(here)
