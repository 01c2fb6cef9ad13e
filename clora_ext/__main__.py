"""``python -m clora_ext PROMPT``: draw with the embedded host, on the tiny world unless told otherwise.

``python -m clora_ext merge LORA ...``: merge LoRAs into one file.
"""

import sys

from clora_ext.hosts.diffusers.cli import main
from clora_ext.hosts.diffusers.merge_cli import merge_main

if sys.argv[1:2] == ["merge"]:
    sys.exit(merge_main(sys.argv[2:]))
sys.exit(main())
