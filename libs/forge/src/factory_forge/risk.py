"""How risky a diff is, by rules: what stops at the risk gate, what a label says."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from .diff import Diff, FileChange

Level = Literal["low", "medium", "high"]

RISKY: tuple[tuple[str, re.Pattern[str], str], ...] = (
    (
        "workflow",
        re.compile(
            r"^\.(github|gitea|forgejo)/(workflows|actions)/|^\.(gitlab-ci|travis|drone|woodpecker)|"
            r"^\.(circleci|buildkite|woodpecker)/|^(azure|bitbucket)-pipelines|(^|/)Jenkinsfile"
        ),
        "changes what CI runs",
    ),
    ("contract", re.compile(r"(^|/)(software-)?factory\.ya?ml$|^factory\.sh$"), "changes the runtime contract itself"),
    (
        "agents",
        re.compile(
            r"(^|/)(AGENTS|CLAUDE|GEMINI)(\.local)?\.md$|(^|/)\.(cursor|windsurf|cline)rules$|"
            r"(^|/)\.(claude|codex|cursor|gemini|mcp|devcontainer|vscode|idea)(/|\.json$)|"
            r"^\.github/(copilot-instructions\.md|instructions/)",
            re.I,
        ),
        "changes what agents and editors are told and run",
    ),
    (
        "owners",
        re.compile(r"(^|/)(CODEOWNERS|\.git(attributes|modules))$"),
        "changes who owns files or how git treats them",
    ),
    (
        "deploy",
        re.compile(
            r"(^|/)((Docker|Container)file([.-][^/]*)?|(docker-)?compose[^/]*\.ya?ml|Procfile|Chart\.yaml|vercel\.json|"
            r"(fly|netlify)\.toml|(render|serverless|cloudbuild)\.ya?ml)$|"
            r"\.((docker|container)file|tf|tfvars)$|(^|/)(helm|k8s|kubernetes)/|(^|/)deploy",
            re.I,
        ),
        "changes deployment",
    ),
    ("billing", re.compile(r"billing|payment|invoice|stripe", re.I), "touches billing"),
)
MIGRATION = re.compile(r"migrat|schema|alembic/versions/", re.I)
# What drops data, in SQL and in the words of migration tools (Django, Rails, Alembic, knex, Laravel, EF Core …).
DROPS = re.compile(
    r"\bDROP\s+(TABLE|COLUMN|DATABASE|SCHEMA)\b|\bTRUNCATE\b|\bDELETE\s+FROM\s+[\w.\"`]+\s*(;|$)|"
    r"\bALTER\s+TABLE\b[^;]{0,300}\bDROP\s+(?!CONSTRAINT|INDEX|DEFAULT|NOT|PRIMARY|FOREIGN|KEY|EXPRESSION|IDENTITY)\w",
    re.I | re.M,
)
DROP_CALLS = re.compile(r"\b(drop_?(table|column)s?|dropIfExists|remove_?(column|field)s?|DeleteModel)\b", re.I)
# The way back of a migration: it drops what the way there has made.
WAY_BACK = re.compile(r"\b(downgrade|down)\s{0,4}[(=:]|--\s{0,4}(\+goose\s{1,4}|migrate:)down\b", re.I)
BIG = 600  # changed lines


class Risk(msgspec.Struct, frozen=True):
    kind: str
    path: str
    says: str


def assess(diff: Diff) -> list[Risk]:
    """Every named risk, in the order of the files. A rename away from a risky name is as risky as one to it."""
    found: list[Risk] = []
    for file in diff.files:
        paths = {file.path, file.old_path}
        found += [Risk(kind, file.path, says) for kind, pattern, says in RISKY if any(pattern.search(p) for p in paths)]
        if _drops_data(file):
            found.append(Risk("destructive_migration", file.path, "a migration that drops data"))
    return found


def _drops_data(file: FileChange) -> bool:
    if not (MIGRATION.search(file.path) or file.path.endswith(".sql")):
        return False
    added = "\n".join(line.text for hunk in file.hunks for line in hunk.lines if line.kind == "+")
    back = WAY_BACK.search(added)
    there = added[: back.start()] if back else added
    return bool(DROPS.search(there) or DROP_CALLS.search(there))


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
