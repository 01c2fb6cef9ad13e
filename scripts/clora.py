"""The only script that WebUI loads: it hands the host's hooks on to ``clora_ext.hosts.webui``."""

import logging
from typing import Any

from modules import script_callbacks, scripts, shared

from clora_ext.hosts.webui.compat import unsupported_host

log = logging.getLogger("clora")
log.setLevel(getattr(shared.cmd_opts, "clora_log_level", "info").upper())
REASON = unsupported_host()

if REASON:
    log.error(REASON)
else:
    from clora_ext.hosts.webui import api, lifecycle, ui

    class CLoRAScript(scripts.Script):
        """The always-on script of the txt2img tab."""

        def title(self) -> str:
            return "CLoRA"

        def show(self, is_img2img: bool) -> object:
            return False if is_img2img else scripts.AlwaysVisible

        def ui(self, is_img2img: bool) -> list[Any]:
            components, self.infotext_fields = ui.panel(self.elem_id)
            return components

        def process(self, p: Any, *args: Any) -> None:
            lifecycle.process(p, ui.fields(args))

        def after_extra_networks_activate(self, p: Any, *args: Any, **kwargs: Any) -> None:
            lifecycle.activated(p)

        def process_before_every_sampling(self, p: Any, *args: Any, **kwargs: Any) -> None:
            lifecycle.attach(p)

        def postprocess(self, p: Any, processed: Any, *args: Any) -> None:
            lifecycle.finished(p)

    script_callbacks.on_app_started(api.add_routes, name="clora")
