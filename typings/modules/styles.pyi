# WebUI 1.10.1: modules/styles.py

from collections.abc import Sequence

class StyleDatabase:
    def apply_styles_to_prompt(self, prompt: str, styles: Sequence[str]) -> str: ...
