# pydantic 1.10.27: pydantic/__init__.py

from typing import Any

class ValidationError(ValueError):
    # Each with ``loc``, ``msg`` and ``type``.
    def errors(self) -> list[dict[str, Any]]: ...

class BaseModel:
    # Raises ValidationError for values that do not fit the annotations.
    def __init__(__pydantic_self__, **data: Any) -> None: ...

def Field(
    default: Any = ...,
    *,
    description: str | None = None,
    ge: float | None = None,
    le: float | None = None,
) -> Any: ...
