# fastapi 0.94.0: fastapi/routing.py

from collections.abc import Callable
from typing import Any

class APIRoute:
    def get_route_handler(self) -> Callable[..., Any]: ...
