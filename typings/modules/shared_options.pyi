# WebUI 1.10.1: modules/shared_options.py

from modules.options import OptionInfo

options_templates: dict[str, OptionInfo]
restricted_opts: set[str]
