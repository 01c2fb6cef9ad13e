"""The tab's components, by what they are for."""

from collections.abc import Callable

import gradio as gr

from clora_ext.hosts.webui.merge.fields import AUTO, EMPTY_ROW, TABLE
from clora_ext.hosts.webui.page.components import Components
from clora_ext.merge.output import PRECISIONS
from clora_ext.merge.ways import WAYS

_KEPT = ("method", "precision", "rank", "conv_rank", "full", "steps", "joint_steps", "memory")
"""Whose values the host may keep as defaults of the user's own."""


def make_merge_components(
    names: Callable[[], list[str]], base: Callable[[], str], line: Callable[[], str]
) -> Components:
    """All components; ``names`` of LoRAs, the ``base`` that is loaded and the ``line`` are asked for."""
    made: Components = {}
    with gr.Row():
        with gr.Column(scale=3):
            _what(made, names())
            _how(made)
        with gr.Column(scale=2):
            made["base"] = gr.Textbox(value=base, label="Base", info="The checkpoint that is loaded.",
                                      interactive=False, elem_id="clora_merge_base")  # fmt: skip
            with gr.Row():
                made["look"] = gr.Button("Look first", elem_id="clora_merge_look")
                made["merge"] = gr.Button("Merge", variant="primary", elem_id="clora_merge_start")
                made["cancel"] = gr.Button("Cancel", variant="stop", elem_id="clora_merge_cancel")
            made["line"] = gr.Textbox(value=line, label="How it stands", interactive=False, lines=2,
                                      elem_id="clora_merge_line")  # fmt: skip
            made["told"] = gr.Textbox(label="Details", interactive=False, lines=8, max_lines=30,
                                      elem_id="clora_merge_told")  # fmt: skip
            made["merged"] = gr.Dropdown(names(), label="Merged file", elem_id="clora_merge_merged")
            made["fill"] = gr.Button("Fill in as it was merged", size="sm", elem_id="clora_merge_fill")
    for name, component in made.items():
        component.do_not_save_to_config = name not in _KEPT
    return made


def _what(made: Components, names: list[str]) -> None:
    """What goes in."""
    with gr.Row():
        made["loras"] = gr.Dropdown(names, value=[], multiselect=True, label="LoRAs to merge", scale=4,
                                    elem_id="clora_merge_loras")  # fmt: skip
        made["take"] = gr.Button("Take from prompt", size="sm", min_width=80, elem_id="clora_merge_take")
        made["refresh"] = gr.Button("Look for files again", size="sm", min_width=80, elem_id="clora_merge_refresh")
    made["rows"] = gr.Dataframe(
        value=[EMPTY_ROW], headers=list(TABLE), datatype=["str", "number", "str"], type="array",
        row_count=(1, "dynamic"), col_count=(len(TABLE), "fixed"), label="Ratios and triggers",
        elem_id="clora_merge_rows",
    )  # fmt: skip


def _how(made: Components) -> None:
    """How it is merged and written."""
    with gr.Row():
        made["name"] = gr.Textbox(label="Name of the merged file", placeholder="six", elem_id="clora_merge_name",
                                  info="In WebUI's folder of LoRAs.")  # fmt: skip
        made["overwrite"] = gr.Checkbox(label="Overwrite it if it is there", elem_id="clora_merge_overwrite")
    made["method"] = gr.Dropdown(list(WAYS), value="default", label="Way to merge", info=WAYS["default"],
                                 elem_id="clora_merge_method")  # fmt: skip
    with gr.Accordion("Size of the file", open=False, elem_id="clora_merge_size"), gr.Row():
        made["rank"] = gr.Textbox(value=AUTO, label="Rank", info="auto, or a number.", elem_id="clora_merge_rank")
        made["conv_rank"] = gr.Textbox(value=AUTO, label="Rank of convolutions", info="Of those larger than 1x1.",
                                       elem_id="clora_merge_conv_rank")  # fmt: skip
        made["precision"] = gr.Radio(list(PRECISIONS), value="fp16", label="Precision",
                                     elem_id="clora_merge_precision")  # fmt: skip
        made["full"] = gr.Checkbox(label="Whole differences", elem_id="clora_merge_full")
    with gr.Accordion("What is learnt from", open=False, elem_id="clora_merge_learning"):
        made["prompt"] = gr.Textbox(label="Prompts to learn from", lines=2, elem_id="clora_merge_prompt",
                                    info="One on each line, {} for the trigger. Empty: the usual ones.")  # fmt: skip
        made["held_prompt"] = gr.Textbox(label="Prompts to judge by", lines=2, elem_id="clora_merge_held")
        made["steps"] = gr.Number(value=20, label="Steps of each picture", precision=0, elem_id="clora_merge_steps")
        made["joint_steps"] = gr.Textbox(
            value=AUTO, label="Joint steps", info="auto, or a number. More: truer to each LoRA, longer. 0: none.",
            elem_id="clora_merge_joint_steps",
        )  # fmt: skip
        made["memory"] = gr.Number(value=1, label="Memory for inputs, GiB", elem_id="clora_merge_memory")
