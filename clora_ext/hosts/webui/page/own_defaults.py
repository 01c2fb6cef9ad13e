"""The user's own defaults of the panel that older versions had left in WebUI's ui-config.json."""

import json
from pathlib import Path

from modules import shared

from clora_ext.errors import CLoRAError
from clora_ext.hosts.webui.page.fields_text import fields_of_defaults


def own_defaults(tab: str) -> str:
    """The panel's text for them, which the host then keeps as its own; empty where there are none that can be read."""
    try:
        saved = json.loads(Path(shared.cmd_opts.ui_config_file).read_text(encoding="utf-8"))
        return fields_of_defaults(saved, tab)
    except (OSError, ValueError, AttributeError, CLoRAError):
        return ""
