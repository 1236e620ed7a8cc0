"""`python -m reelseek`."""

import sys

from reelseek.app.cli import main

sys.exit(main())
