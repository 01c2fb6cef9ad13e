"""Command line flags; WebUI calls this before anything else is there."""

import argparse


def preload(parser: argparse.ArgumentParser) -> None:
    """Add our flags to WebUI's."""
    parser.add_argument(
        "--clora-log-level",
        choices=["debug", "info", "warning", "error"],
        default="info",
        help="how much CLoRA writes to the log",
    )
