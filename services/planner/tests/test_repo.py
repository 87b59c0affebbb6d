"""What the planner reads of a repo, from a real mirror of a small one."""

import os
import subprocess
from pathlib import Path

import pytest
from factory_forge.git import Mirror
from factory_planner import repo


@pytest.fixture
def work(tmp_path: Path) -> Path:
    work = tmp_path / "work"
    subprocess.run(["git", "init", "-q", "-b", "main", str(work)], check=True)
    return work


async def texts(work: Path) -> dict[str, str]:
    """Commits all of `work` and reads it through a mirror."""
    git = ["git", "-C", str(work), "-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
    env = {"PATH": os.environ["PATH"], "HOME": str(work)}
    subprocess.run([*git, "add", "-A", "-f"], check=True, env=env)
    subprocess.run([*git, "commit", "-q", "-m", "all"], check=True, env=env)
    mirror = await Mirror.open(work.parent / "mirror.git", str(work))
    await mirror.fetch()
    return await repo.texts(mirror, await mirror.resolve("main"))


async def test_texts(work: Path) -> None:
    """Texts are read; binaries, big files and pictures are listed empty; links lead nowhere."""
    (work / "app.py").write_text("print('ä')\n")
    (work / "data.py").write_bytes(b"\0\1\2")
    (work / "latin.py").write_bytes("caf\xe9".encode("latin-1"))
    (work / "big.py").write_text("x" * (repo.MAX_BYTES + 1))
    (work / "logo.svg").write_text("<svg/>")
    (work / "odd name\twith\nbreaks.py").write_text("odd")
    secret = work.parent / "secret"
    secret.write_text("from the host")
    (work / "link.py").symlink_to(secret)
    (work / "docs").mkdir()
    (work / "docs/guide.md").write_text("guide")
    found = await texts(work)
    assert found == {
        "app.py": "print('ä')\n",
        "data.py": "",
        "latin.py": "caf�",
        "big.py": "",
        "logo.svg": "",
        "odd name\twith\nbreaks.py": "odd",
        "link.py": "",
        "docs/guide.md": "guide",
    }


async def test_what_is_left_out(work: Path) -> None:
    """What others wrote is left out: at the top where its folder may be the app's own word, packages at any depth."""
    for path in ("vendor/a.py", "web/node_modules/x/a.js", "app/vendor/b.py", "third_party/c.py"):
        (work / path).parent.mkdir(parents=True, exist_ok=True)
        (work / path).write_text("x")
    assert set(await texts(work)) == {"app/vendor/b.py"}


async def test_bound(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the bound files are listed and not read; locks and pictures do not use it up."""
    monkeypatch.setattr(repo, "MAX_READ", 2)
    for path in ("a.lock", "a.png", "b.py", "c.py", "d.py"):
        (work / path).write_text(path)
    assert await texts(work) == {"a.lock": "", "a.png": "", "b.py": "b.py", "c.py": "c.py", "d.py": ""}
