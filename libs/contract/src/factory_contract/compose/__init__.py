"""Services of a Docker Compose file: read without Docker, then rendered, rewritten for this checkout, and run by the engine.

`file` (what the YAML says) → `members` (which services of the contract are Compose's) · `render` (pure: Compose's own reading,
rewritten so that two checkouts never collide) · `engine` (the docker command) → `project` (one Compose project) → `unit`.
"""
