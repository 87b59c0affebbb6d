"""What the environment says about this desk; the defaults work in a checkout."""

import os
from pathlib import Path

NAME = os.environ.get("DESK_NAME", "Deskline")
DATABASE = Path(os.environ.get("DESK_DATABASE", "var/deskline.db"))
