"""The only script that WebUI loads: it hands the host's hooks on to ``clora_ext.hosts.webui``."""

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

from modules import script_callbacks, scripts

from clora_ext.hosts.webui.drive.compat import unsupported_host

log = logging.getLogger("clora")
REASON = unsupported_host()

if REASON:
    log.error(REASON)
else:
    from clora_ext.hosts.webui import lifecycle, options
    from clora_ext.hosts.webui.merge import routes, tab
    from clora_ext.hosts.webui.page import api, panel, problem, xyz

    def _tab(is_img2img: bool) -> str:
        return "img2img" if is_img2img else "txt2img"

    def _report(wanted: Mapping[str, Any]) -> dict[str, Any]:
        private = bool(wanted["report"])
        return {"report": problem.problem_report(lifecycle.LAST_JOB, lifecycle.SOURCE, private=private)}

    def _preview(wanted: Mapping[str, Any]) -> dict[str, Any]:
        return {"preview": options.keep_option("preview_masks", bool(wanted["preview"]))}

    ANSWERS = {
        "report": _report,
        "preview": _preview,
        "mask_of": lifecycle.LAST_JOB.mask_of,
        "finished": lifecycle.FINISHED.tell,
        "inpaint": lifecycle.FINISHED.inpaint,
    }

    class CLoRAScript(scripts.Script):
        """The always-on script of both tabs."""

        def title(self) -> str:
            return "CLoRA"

        def show(self, is_img2img: bool) -> object:
            self.page: dict[str, Any] = {}
            tab = _tab(is_img2img)
            for element in (f"{tab}_prompt", f"{tab}_styles", *panel.COUNTED[tab]):
                self.on_after_component(partial(self._meet, element), elem_id=element)
            return scripts.AlwaysVisible

        def _meet(self, element: str, event: Any) -> None:
            self.page[element] = event.component

        def ui(self, is_img2img: bool) -> list[Any]:
            components, self.infotext_fields = panel.build_panel(_tab(is_img2img), self.page, lifecycle.SOURCE, ANSWERS)
            self.paste_field_names = list(panel.PASTED.values())
            return components

        def process(self, p: Any, *args: Any) -> None:
            lifecycle.process(p, self, args)

        def after_extra_networks_activate(self, p: Any, *args: Any, **kwargs: Any) -> None:
            lifecycle.activated(p)

        def process_before_every_sampling(self, p: Any, *args: Any, **kwargs: Any) -> None:
            lifecycle.attach(p)

        def postprocess_batch(self, p: Any, *args: Any, **kwargs: Any) -> None:
            lifecycle.drawn(p, kwargs["images"])

        def postprocess(self, p: Any, processed: Any, *args: Any) -> None:
            lifecycle.finished(p, processed)

    def add_routes(_demo: Any, app: Any) -> None:
        """Called when the page is served."""
        api.add_routes(app, lifecycle.SOURCE, lifecycle.LAST_JOB)
        routes.add_merge_routes(app)

    def add_tabs() -> list[tuple[Any, str, str]]:
        """Called when the page is made."""
        return tab.merge_tabs()

    options.set_log_level()
    script_callbacks.on_app_started(add_routes, name="clora")
    script_callbacks.on_before_ui(xyz.add_axes, name="clora")
    script_callbacks.on_before_ui(lifecycle.meet_parts, name="clora")
    script_callbacks.on_ui_tabs(add_tabs, name="clora")
    script_callbacks.on_ui_settings(options.add_options, name="clora")
