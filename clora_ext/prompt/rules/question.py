"""What only a person knows."""

from collections.abc import Sequence

from clora_ext.errors import BindingError
from clora_ext.prompt.grammar.spans import WordSpan


class Question(BindingError):  # noqa: N818 - the panel asks it, with a button for each answer
    """Nothing tells what a LoRA draws, or who of several draws a word.

    ``asked`` is the question in parts that can be translated one by one; the message says besides how to answer in
    writing. ``lora`` is the one it is about, and ``part`` the LoRA in a merged file. ``choices`` are the words that it
    may be; none where any may.
    """

    def __init__(
        self,
        lora: str,
        asked: Sequence[str],
        how: str,
        field: str,
        choices: Sequence[WordSpan] = (),
        *,
        part: str | None = None,
    ) -> None:
        super().__init__(f"{''.join(asked)} {how}", field)
        self.lora = lora
        self.part = part
        self.asked = tuple(asked)
        self.choices = tuple(choices)
