"""A report to paste into an issue: what runs here, what the last job was asked for, and why it failed.

Without paths, prompts and words of bindings, unless somebody wants them in it.
"""

import platform
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from modules import extensions, paths_internal, shared, shared_cmd_options
from modules.processing import program_version

from clora_ext import __version__
from clora_ext.hosts.webui.page.last_job import Asked, LastJob
from clora_ext.hosts.webui.page.source import PageSource
from clora_ext.prompt import format_bindings
from clora_ext.redact import FRAME, without_paths, without_words
from clora_ext.settings.profiles import plain_changes

_TOLD = ("use_cpu", "precision", "loglevel", "clora_log_level")
"""Flags whose value is no secret, no address and no path; of the others with a text the name is told."""


def problem_report(last_job: LastJob, source: PageSource, *, private: bool = False) -> str:
    """The report as Markdown; with ``private`` nothing is left out of it."""
    lines = [*_programs(), *_host(source), *_job(last_job, private=private)]
    text = "\n".join(f"- {line}" for line in lines)
    causes = "\n".join(_causes(last_job, private=private))
    told = f"{text}\n\n```\n{causes}\n```\n" if causes else f"{text}\n"
    return told if private else without_paths(told, _roots())


def _programs() -> Iterator[str]:
    yield f"CLoRA {__version__} in WebUI {program_version() or 'of no version'}"
    yield f"Python {platform.python_version()}, torch {torch.__version__}, gradio {version('gradio')}"
    yield f"{platform.system()} {platform.release()}, {platform.machine()}"


def _host(source: PageSource) -> Iterator[str]:
    yield f"Flags: {' '.join(_flags()) or 'none'}"
    yield f"Attention: {getattr(shared.opts, 'cross_attention_optimization', 'not known')}"
    yield f"Checkpoint: {source.model_kind()}"
    others = [each.name for each in extensions.active() if not each.is_builtin]
    yield f"Extensions: {', '.join(sorted(others, key=str.lower)) or 'none'}"


def _flags() -> Iterator[str]:
    """Those that are not as they are without any."""
    defaults = vars(shared_cmd_options.parser.parse_args([]))
    for name, value in vars(shared.cmd_opts).items():
        if name in defaults and value != defaults[name]:
            yield f"--{name.replace('_', '-')}{_value(name, value)}"


def _value(name: str, value: Any) -> str:
    if isinstance(value, bool) or not (isinstance(value, (int, float)) or name in _TOLD):
        return ""
    return f"={','.join(value) if isinstance(value, list) else value}"


def _job(last_job: LastJob, *, private: bool) -> Iterator[str]:
    asked = last_job.asked
    if asked is None:
        yield "No job yet"
        return
    yield f"Job: {', '.join(f'{name} {value}' for name, value in asked.sampling.items())}"
    if asked.request is not None:
        settings = asked.request.settings
        changed = "".join(f", {name} = {value}" for name, value in plain_changes(settings).items())
        yield f"Settings: method {settings.method}, profile {settings.profile}{changed}"
        for line in format_bindings(asked.request.bindings).splitlines():
            yield f"Binding: {line if private else without_words(line, _words(asked))}"
    yield f"Composed: {'yes' if last_job.report.get('composed') else 'no'}"
    for text in asked.prompts if private else ():
        yield f"Prompt: {text}"


def _causes(last_job: LastJob, *, private: bool) -> Iterator[str]:
    """What went wrong; the places in the code stay as they are."""
    hidden = [] if private or last_job.asked is None else _words(last_job.asked)
    for line in last_job.causes:
        yield line if line.startswith(FRAME) else without_words(line, hidden)


def _words(asked: Asked) -> list[str]:
    """Texts whose words are somebody's own."""
    bindings = () if asked.request is None else asked.request.bindings
    own = [text for each in bindings for text in (each.subject, each.trigger, each.on) if text]
    return [*asked.prompts, *own]


def _roots() -> dict[str, str]:
    return {
        paths_internal.data_path: "data",
        paths_internal.script_path: "webui",
        paths_internal.models_path: "models",
        str(Path.home()): "home",
    }
