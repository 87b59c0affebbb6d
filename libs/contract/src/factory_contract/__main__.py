"""`python -m factory_contract` is the `factory` command."""

import sys

from factory_contract.cli import main

sys.exit(main())
