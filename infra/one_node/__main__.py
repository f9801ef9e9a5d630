"""`python -m infra.one_node`."""

import sys

from infra.one_node.cli import main

sys.exit(main())
