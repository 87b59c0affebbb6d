"""`python -m factory_builder` runs builder alone."""

from factory_chassis.service import run
from factory_chassis.settings import read_or_exit

from .app import build_app
from .settings import Settings


def main() -> None:
    settings = read_or_exit(Settings)
    run(lambda: build_app(settings))


if __name__ == "__main__":
    main()
