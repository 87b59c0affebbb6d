"""The runtime contract: `factory.yaml`, the `factory` command, and the supervisor of what it starts."""
