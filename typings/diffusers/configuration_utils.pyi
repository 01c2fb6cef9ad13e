# The tools' diffusers: diffusers/configuration_utils.py

from collections.abc import Mapping
from typing import Any

from typing_extensions import Self

class ConfigMixin:
    # The numbers of the class's ``__init__``, as attributes.
    @property
    def config(self) -> Any: ...
    @classmethod
    def from_config(cls, config: Mapping[str, Any] | None = None) -> Self: ...
