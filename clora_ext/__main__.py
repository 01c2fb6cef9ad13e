"""``python -m clora_ext PROMPT``: draw with the embedded host, on the tiny world unless told otherwise."""

import sys

from clora_ext.hosts.diffusers.cli import main

sys.exit(main())
