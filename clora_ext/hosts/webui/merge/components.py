"""The tab's components: javascript/clora_merge.js draws all that is seen, when the tab is first opened."""

import gradio as gr

from clora_ext.hosts.webui.page.components import Components, hidden_text


def make_merge_components() -> Components:
    """What the script asks by and is answered in, and the user's own defaults as the host keeps them."""
    made: Components = {
        "defaults": hidden_text("Defaults", "clora_merge_defaults"),
        "view": hidden_text("View", "clora_merge_view"),
        "ask": gr.Button(visible=False, elem_id="clora_merge_ask"),
    }
    made["view"].do_not_save_to_config = True
    return made
