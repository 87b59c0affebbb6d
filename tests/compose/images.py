"""The images of a test: ours, built; the servers', pulled, or stood in for where no registry answers."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from engine import Engine, NoEngine, Say, sources, stanza

ROOT = Path(__file__).resolve().parents[2]
TARGETS = ("service", "browser", "node")
BASE = "debian:bookworm-slim"
# variable of compose.yaml → (its default there, the target that stands in for it)
SERVERS = {
    "NATS_IMAGE": ("nats:2.12-alpine", "nats"),
    "POSTGRES_IMAGE": ("postgres:18-bookworm", "postgres"),
    "MINIO_IMAGE": ("pgsty/silo:RELEASE.2026-09-16T00-00-00Z", "s3"),
}
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
# under /usr/share, left out of packages by the slim image; a base made by debootstrap has to be told
LEFT_OUT = ("doc", "groff", "info", "linda", "lintian", "locale", "man")


class Images:
    """`build` makes all of them; `env` is what compose.yaml has to be told then."""

    def __init__(self, engine: Engine, tag: str, say: Say) -> None:
        self.engine, self.tag, self.say = engine, tag, say
        self.env = {"FACTORY_IMAGE": "factory-test", "FACTORY_VERSION": tag}
        self.stood_in: list[str] = []
        self.seconds: dict[str, float] = {}

    def build(self) -> None:
        """Raises NoEngine where there is nothing to build from, CalledProcessError where a build fails."""
        with tempfile.TemporaryDirectory() as d:
            self._secrets: list[str] = []
            if Path(certificates := os.environ.get("SSL_CERT_FILE", CERTIFICATES)).is_file():
                self._secrets += ["--secret", f"id=ca,src={certificates}"]
            base = BASE if self.engine.can("pull", "--quiet", BASE) else self._bootstrap(Path(d))
            self.env["BASE_IMAGE"] = base
            for target in TARGETS:
                self._build(target, f"factory-test/{target}:{self.tag}", ROOT / "Dockerfile")
            for variable, (image, target) in SERVERS.items():
                if base == BASE and self.engine.can("pull", "--quiet", image):
                    continue
                name = f"factory-test/{target}:{self.tag}"
                self._build(target, name, ROOT / "tests/compose/standins/Dockerfile")
                self.env[variable] = name
                self.stood_in.append(image)

    def _build(self, target: str, name: str, file: Path) -> None:
        began = time.monotonic()
        argv = ["buildx", "build", "--load", "--progress=plain", *self._secrets, "--file", str(file)]
        if self.engine.ours:
            argv += ["--network", "host"]
        arguments = ["--build-arg", f"BASE_IMAGE={self.env['BASE_IMAGE']}", "--build-arg", f"VERSION={self.tag}"]
        self.engine.run(*argv, *arguments, "--target", target, "--tag", name, str(ROOT))
        self.seconds[target] = round(time.monotonic() - began, 1)
        self.say(f"built {target}: {self.seconds[target]:.0f} s, {self.size(name) / 1e6:.0f} MB")

    def _bootstrap(self, directory: Path) -> str:
        """A base of this machine's own Debian; its package sources become a build secret, and are in no image."""
        if os.geteuid() != 0 or not shutil.which("debootstrap") or not (found := sources()):
            raise NoEngine(f"{BASE} cannot be pulled, and only root on Debian can make a stand-in")
        self.say(f"no registry answers: making a stand-in for {BASE} with debootstrap")
        began = time.monotonic()
        uri, suites, _ = found[0]
        tree = directory / "tree"
        argv = ["debootstrap", "--variant=minbase", "--include=ca-certificates", suites[0], str(tree), uri]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            raise NoEngine(f"debootstrap failed: {done.stdout.strip().splitlines()[-1:]}")
        (tree / "etc/apt/sources.list").write_text("")
        slim = tree / "etc/dpkg/dpkg.cfg.d/slim"
        slim.write_text("".join(f"path-exclude /usr/share/{what}/*\n" for what in LEFT_OUT))
        for left in (*(f"usr/share/{what}" for what in LEFT_OUT), "var/cache/apt", "var/lib/apt/lists", "var/log"):
            shutil.rmtree(tree / left, ignore_errors=True)
        (tree / "var/log").mkdir()
        name = f"factory-test/base:{self.tag}"
        packed = directory / "tree.tar"
        subprocess.run(["tar", "-C", str(tree), "-cf", str(packed), "."], check=True)
        self.engine.run("import", str(packed), name)
        given = directory / "apt.sources"
        given.write_text("\n".join(stanza(*source) for source in found))
        self._secrets += ["--secret", f"id=apt,src={given}"]
        self.stood_in.append(BASE)
        self.seconds["base"] = round(time.monotonic() - began, 1)
        self.say(f"made base: {self.seconds['base']:.0f} s, {self.size(name) / 1e6:.0f} MB")
        return name

    def size(self, name: str) -> int:
        """Bytes."""
        return int(self.engine.run("image", "inspect", "--format", "{{.Size}}", name))

    def megabytes(self) -> dict[str, int]:
        """By target."""
        return {n.split("/")[1].split(":")[0]: round(self.size(n) / 1e6) for n in self.names()}

    def names(self) -> list[str]:
        """All images with our tag."""
        return self.engine.run(
            "image", "ls", "--filter", f"reference=factory-test/*:{self.tag}", "--format", "{{.Repository}}:{{.Tag}}"
        ).split()

    def remove(self) -> None:
        if names := self.names():
            self.engine.run("image", "rm", "--force", *names, check=False)
