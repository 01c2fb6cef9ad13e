# The tools' diffusers: diffusers/configuration_utils.py

from typing import Any

class ConfigMixin:
    # The numbers of the class's ``__init__``, as attributes.
    @property
    def config(self) -> Any: ...
