"""`python -m tests.cluster.one_node`."""

import sys

from tests.cluster.one_node.cli import main

sys.exit(main())
