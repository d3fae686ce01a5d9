"""`python -m clients.commands` is `amanat`."""

import sys

from clients.commands.main import main

sys.exit(main())
