"""How risky a diff is, by rules: what stops at the risk gate, what a label says."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from .diff import Diff

Level = Literal["low", "medium", "high"]

RISKY: tuple[tuple[str, re.Pattern[str], str], ...] = (
    ("workflow", re.compile(r"^\.github/(workflows|actions)/|^\.gitlab-ci|^\.circleci/"), "changes what CI runs"),
    ("contract", re.compile(r"(^|/)(software-)?factory\.ya?ml$|^factory\.sh$"), "changes the runtime contract itself"),
    (
        "agents",
        re.compile(r"(^|/)(AGENTS|CLAUDE|GEMINI)\.md$|^\.(claude|codex|cursor|mcp|vscode|idea)(/|\.json$)"),
        "changes what agents are told",
    ),
    ("owners", re.compile(r"(^|/)CODEOWNERS$|^\.git(attributes|modules)$"), "changes who owns or how git treats files"),
    (
        "deploy",
        re.compile(r"(^|/)(Dockerfile|compose[^/]*\.ya?ml|.*\.tf|helm/|k8s/|deploy)", re.I),
        "changes deployment",
    ),
    ("billing", re.compile(r"billing|payment|invoice|stripe", re.I), "touches billing"),
)
DROPS = re.compile(r"\b(DROP\s+(TABLE|COLUMN|DATABASE|SCHEMA)|TRUNCATE\b|DELETE\s+FROM\s+\w+\s*;)", re.I)
MIGRATION = re.compile(r"migrat|schema", re.I)
BIG = 600  # changed lines


class Risk(msgspec.Struct, frozen=True):
    kind: str
    path: str
    says: str


def assess(diff: Diff) -> list[Risk]:
    """Every named risk, in the order of the files."""
    found: list[Risk] = []
    for file in diff.files:
        found += [Risk(kind, file.path, says) for kind, pattern, says in RISKY if pattern.search(file.path)]
        added = "\n".join(line.text for hunk in file.hunks for line in hunk.lines if line.kind == "+")
        if (MIGRATION.search(file.path) or file.path.endswith(".sql")) and DROPS.search(added):
            found.append(Risk("destructive_migration", file.path, "a migration that drops data"))
    return found


def gated(risks: list[Risk]) -> list[Risk]:
    """What a person has to allow before it is pushed."""
    return [
        r
        for r in risks
        if r.kind in {"workflow", "contract", "agents", "owners", "deploy", "billing", "destructive_migration"}
    ]


def level(diff: Diff, risks: list[Risk]) -> Level:
    if any(r.kind in {"destructive_migration", "workflow", "deploy", "billing"} for r in risks):
        return "high"
    changed = sum(f.added + f.removed for f in diff.files)
    if risks or changed > BIG or any(MIGRATION.search(f.path) for f in diff.files):
        return "medium"
    return "low"
