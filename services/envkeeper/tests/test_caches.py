"""Caches of package managers."""

from pathlib import Path

import pytest
from factory_envkeeper.caches import shared_caches


def test_shared_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Absolute, beneath the node's directory, one for each, and nothing is made before somebody writes."""
    monkeypatch.delenv("FACTORY_CHROMIUM", raising=False)
    monkeypatch.chdir(tmp_path)
    caches = shared_caches(Path("node"))
    assert {"PIP_CACHE_DIR", "UV_CACHE_DIR", "npm_config_cache"} <= set(caches)
    assert len(set(caches.values())) == len(caches)
    assert all(Path(p).parent == tmp_path / "node/caches" for p in caches.values())
    assert list(tmp_path.iterdir()) == []


def test_chromium(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's Chromium is known inside too; no other setting or secret of the factory is."""
    monkeypatch.setenv("FACTORY_CHROMIUM", "/usr/bin/chromium")
    monkeypatch.setenv("FACTORY_GITHUB_TOKEN", "secret")
    caches = shared_caches(tmp_path)
    assert caches["FACTORY_CHROMIUM"] == "/usr/bin/chromium"
    assert [k for k in caches if k.startswith("FACTORY_")] == ["FACTORY_CHROMIUM"]
