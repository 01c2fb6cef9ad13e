"""Does a change of the code change a picture? The same jobs before and after it, through both hosts, byte for byte.

    python -m tests.unchanged draw out/before.json      # in the checkout before the change
    python -m tests.unchanged draw out/after.json       # in the one after it
    python -m tests.unchanged compare out/before.json out/after.json

Digests depend on the machine and the versions of torch, so they are compared and never kept.
"""
