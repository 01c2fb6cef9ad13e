# WebUI 1.10.1: modules/paths_internal.py

data_path: str
models_path: str
script_path: str
extensions_dir: str
extensions_builtin_dir: str
default_output_dir: str
