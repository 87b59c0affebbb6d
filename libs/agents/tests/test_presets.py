"""Presets are data that load, and inline agents that are wrong say how."""

import pytest
from factory_agents import PRESETS, BadPreset, UnknownPreset, build_agent, resolve
from factory_agents.acp import AcpAgent


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_preset_says_what_is_known_of_it(name):
    """Each has a label, a command, what to do when it is missing, and what was tried."""
    preset = resolve(name)
    assert preset.label and preset.command and preset.install
    assert "no test here runs it" in preset.notes
    assert isinstance(build_agent(preset, None, "/"), AcpAgent)  # type: ignore[arg-type]


def test_presets_hold_no_keys():
    """Keys come by reference, never from a preset."""
    assert not [name for preset in PRESETS.values() for name in preset.env if "KEY" in name or "TOKEN" in name]


def test_an_unknown_name():
    """The error lists what there is."""
    with pytest.raises(UnknownPreset, match="called 'cluade'; known: claude, codex, opencode"):
        resolve("cluade")


def test_an_inline_agent():
    """What a project writes; the label falls back to the command."""
    preset = resolve({"driver": "acp", "command": ["my-agent", "acp"], "env": {"A": "b"}})
    assert (preset.command, preset.env, preset.label) == (("my-agent", "acp"), {"A": "b"}, "my-agent acp")


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"command": "my-agent acp"}, r"Expected `array`, got `str` - at `\$\.command`.*list of words"),
        ({"driver": "acp"}, "missing required field `command`"),
        ({"command": []}, "`command` is empty"),
        ({"command": ["a"], "driver": "telepathy"}, "driver 'telepathy' is not known; known: acp"),
        ({"command": ["a"], "comand": ["b"]}, "unknown field `comand`"),
        ({"command": ["a"], "env": {"A": 1}}, r"Expected `str`, got `int` - at `\$\.env"),
    ],
)
def test_an_inline_agent_that_is_wrong(config, says):
    """Each mistake is named."""
    with pytest.raises(BadPreset, match=says):
        resolve(config)
