"""One interface to coding agents, its drivers, presets as data."""
