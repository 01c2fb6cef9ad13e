# fastapi 0.94.0: fastapi/security/__init__.py

class HTTPBasicCredentials:
    username: str
    password: str

    def __init__(self, *, username: str, password: str) -> None: ...

class HTTPBasic:
    def __init__(self, *, realm: str | None = None, auto_error: bool = True) -> None: ...
    # Raises HTTPException 401 where a request has no credentials and ``auto_error`` is on.
    async def __call__(self, request: object) -> HTTPBasicCredentials | None: ...
