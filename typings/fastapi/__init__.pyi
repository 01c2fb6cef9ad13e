# fastapi 0.94.0: fastapi/__init__.py

from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, TypeVar

from fastapi.routing import APIRoute

_Route = TypeVar("_Route", bound=Callable[..., Any])

class Request:
    scope: Any
    receive: Any

    def __init__(self, scope: Any, receive: Any = ..., send: Any = ...) -> None: ...
    def stream(self) -> AsyncGenerator[bytes]: ...
    async def body(self) -> bytes: ...
    async def json(self) -> Any: ...

class APIRouter:
    def __init__(
        self,
        *,
        prefix: str = "",
        dependencies: Sequence[Any] | None = None,
        route_class: type[APIRoute] = APIRoute,
    ) -> None: ...
    def get(self, path: str, *, description: str | None = None) -> Callable[[_Route], _Route]: ...
    def post(self, path: str, *, description: str | None = None) -> Callable[[_Route], _Route]: ...
    def put(self, path: str, *, description: str | None = None) -> Callable[[_Route], _Route]: ...
    def delete(self, path: str, *, description: str | None = None) -> Callable[[_Route], _Route]: ...

class FastAPI:
    def include_router(
        self, router: APIRouter, *, prefix: str = "", dependencies: Sequence[Any] | None = None
    ) -> None: ...

class HTTPException(Exception):
    status_code: int
    detail: Any

    def __init__(self, status_code: int, detail: Any = None, headers: dict[str, Any] | None = None) -> None: ...

# Both are defaults of parameters, whatever those are.
def Depends(dependency: Callable[..., Any] | None = None, *, use_cache: bool = True) -> Any: ...
def Body(
    default: Any = ...,
    *,
    embed: bool = False,
    description: str | None = None,
    ge: float | None = None,
    le: float | None = None,
    min_length: int | None = None,
    max_length: int | None = None,
) -> Any: ...
