"""`python -m ebmlang`, for where the script is not on the path."""

import sys

from ebmlang.cli import main

sys.exit(main())
