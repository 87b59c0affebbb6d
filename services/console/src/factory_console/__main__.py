"""`python -m factory_console` runs console alone."""

from factory_chassis.service import run

from .app import build_app
from .settings import Settings


def main() -> None:
    run(Settings, build_app)


if __name__ == "__main__":
    main()
