"""`python -m skipway` is `skipway`."""

import sys

from skipway.cli.main import main

sys.exit(main())
