"""Which driver a preset asks for; the place where the `command` driver comes in."""

from collections.abc import Mapping, Sequence

from factory_agents.driver import AgentDriver, McpServer, OnEvent, Spawn
from factory_agents.errors import BadPreset
from factory_agents.presets import Preset


def build_agent(
    preset: Preset,
    spawn: Spawn,
    cwd: str,
    *,
    env: Mapping[str, str] | None = None,
    mcp_servers: Sequence[McpServer] = (),
    on_event: OnEvent = lambda event: None,
) -> AgentDriver:
    """The agent of this preset, not started; parameters as of `AcpAgent`. Raises BadPreset for a driver not known."""
    if preset.driver == "acp":
        from factory_agents.acp import AcpAgent  # the SDK takes most of a second to import; presets need none of it

        return AcpAgent(spawn, preset, cwd, env=env, mcp_servers=mcp_servers, on_event=on_event)
    raise BadPreset(f"driver {preset.driver!r} is not known.")
