"""Agents as data: the command that speaks ACP, what it needs in its environment, and what to know about it.

A preset holds nothing secret: keys and model endpoints come from the project's settings when the agent is started.
"""

import shlex
from collections.abc import Mapping
from typing import Any

import msgspec

from factory_agents.errors import BadPreset, UnknownPreset

DRIVERS = ("acp",)  # `command` (argv template, output text | claude-stream-json | codex-json) is the next one


class Preset(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to start one agent. `session_mode` is set after the session is opened, where the agent has modes."""

    label: str = ""
    driver: str = "acp"
    command: tuple[str, ...]
    env: dict[str, str] = {}
    session_mode: str | None = None
    install: str = ""
    notes: str = ""


PRESETS: Mapping[str, Preset] = {
    "claude": Preset(
        label="Claude Code",
        command=("claude-agent-acp",),
        env={
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
            "DISABLE_ERROR_REPORTING": "1",
            "DISABLE_TELEMETRY": "1",
        },
        session_mode="default",
        install="run `npm install -g @agentclientprotocol/claude-agent-acp@0.101.0` in the sandbox's image",
        notes=(
            "Tried by hand with 0.101.0 against a loopback model; no test here runs it yet. Key: ANTHROPIC_API_KEY, "
            "endpoint: ANTHROPIC_BASE_URL. Without the mode `default` it opens in `auto` and asks for no permission."
        ),
    ),
    "codex": Preset(
        label="Codex",
        command=("codex-acp",),
        env={"INITIAL_AGENT_MODE": "workspace-write", "NO_BROWSER": "1"},
        install="run `npm install -g @agentclientprotocol/codex-acp@2.6.0` in the sandbox's image",
        notes=(
            "Tried by hand with 2.6.0 against a loopback model, NO_BROWSER apart (read in its source); no test here "
            "runs it yet. Key: CODEX_API_KEY, endpoint: a provider in config.toml and MODEL_PROVIDER. Model errors "
            "show in metadata only. With its home beneath the temporary directory its own sandbox fails silently."
        ),
    ),
    "opencode": Preset(
        label="OpenCode",
        command=("opencode", "acp"),
        env={
            "OPENCODE_DISABLE_AUTOUPDATE": "1",
            "OPENCODE_DISABLE_DEFAULT_PLUGINS": "1",
            "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
            "OPENCODE_DISABLE_MODELS_FETCH": "1",
        },
        install="run `npm install -g opencode-ai@1.18.33` in the sandbox's image",
        notes=(
            "Tried by hand with 1.18.33 against a loopback model; no test here runs it yet. Model and provider: a file "
            "named by OPENCODE_CONFIG; it asks for permission only with `permission: {edit: ask, bash: ask}` there. "
            "It retries a model that is away without a word (the deadline ends that), and leaves its tools running "
            "when it is killed (the sandbox ends those)."
        ),
    ),
}


def resolve(config: str | Mapping[str, Any]) -> Preset:
    """The preset of this name, or the inline agent {driver, command, env, label}.

    Raises UnknownPreset for a name that is not known, BadPreset for an inline agent that cannot be read.
    """
    if isinstance(config, str):
        if config not in PRESETS:
            raise UnknownPreset(config, sorted(PRESETS))
        return PRESETS[config]
    try:
        preset = msgspec.convert(dict(config), Preset)
    except msgspec.ValidationError as error:
        raise BadPreset(f"{error}. It needs `command`, a list of words, e.g. [my-agent, acp].") from None
    if preset.driver not in DRIVERS:
        raise BadPreset(f"driver {preset.driver!r} is not known; known: {', '.join(DRIVERS)}.")
    if not preset.command or not preset.command[0]:
        raise BadPreset("`command` is empty; give the words that start the agent, e.g. [my-agent, acp].")
    return preset if preset.label else msgspec.structs.replace(preset, label=shlex.join(preset.command))
