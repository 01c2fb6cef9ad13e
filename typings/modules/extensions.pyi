# WebUI 1.10.1: modules/extensions.py

class Extension:
    name: str
    enabled: bool
    is_builtin: bool
    canonical_name: str
    path: str

# Those that are switched on.
def active() -> list[Extension]: ...
