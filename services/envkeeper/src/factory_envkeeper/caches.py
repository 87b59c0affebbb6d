"""Package managers' caches, shared by all sandboxes of a node by explicit variables: HOME is private to each."""

from __future__ import annotations

import os
from pathlib import Path


def shared_caches(node_dir: Path) -> dict[str, str]:
    """Variables for every sandbox; the directories are made when a package manager first writes."""
    root = node_dir.resolve() / "caches"
    caches = {
        "PIP_CACHE_DIR": "pip",
        "UV_CACHE_DIR": "uv",
        "npm_config_cache": "npm",
        "YARN_CACHE_FOLDER": "yarn",
        "BUN_INSTALL_CACHE_DIR": "bun",
        "GOMODCACHE": "go",
        "CARGO_HOME": "cargo",
    }
    env = {name: str(root / sub) for name, sub in caches.items()}
    if chromium := os.environ.get("FACTORY_CHROMIUM"):
        env["FACTORY_CHROMIUM"] = chromium
    return env
