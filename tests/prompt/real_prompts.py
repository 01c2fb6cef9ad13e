"""The prompts of ``tests/data/prompts``: read, bound as a job binds them, and compared with what a person means."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from clora_ext.errors import CLoRAError
from clora_ext.prompt import BoundPrompt, LoraFacts
from clora_ext.prompt.grammar.lexer import split_words

FOLDER = Path(__file__).resolve().parents[1] / "data" / "prompts"
BOUND_RIGHTLY = "bound rightly"
REFUSED_RIGHTLY = "refused rightly"
REFUSED_WRONGLY = "refused wrongly"
BOUND_WRONGLY = "bound wrongly"
ASK = "ask"

Bind = Callable[[str], BoundPrompt]


@dataclass(frozen=True, slots=True)
class RealPrompt:
    """A prompt, and for each of its LoRAs the answers that are right."""

    file: str
    prompt: str
    answers: dict[str, tuple[str, ...]]

    @property
    def may_be_refused(self) -> bool:
        """Whether a person would have to ask about one of its LoRAs."""
        return any(ASK in right for right in self.answers.values())

    @property
    def may_be_bound(self) -> bool:
        """Whether each LoRA has an answer beside the question."""
        return all(right != (ASK,) for right in self.answers.values())


def read_loras() -> dict[str, LoraFacts]:
    """The LoRAs of ``loras.txt`` by name."""
    found: dict[str, LoraFacts] = {}
    for line in _lines("loras.txt"):
        name, *pairs = [part.strip() for part in line.split(" | ")]
        values: dict[str, list[str]] = {"note": [], "tag": [], "label": [], "alias": []}
        for pair in pairs:
            key, _, value = pair.partition(": ")
            values[key].append(value)
        found[name] = LoraFacts(
            name, tuple(values["alias"]), tuple(values["note"]), tuple(values["tag"]), tuple(values["label"])
        )
    return found


def read_prompts() -> list[RealPrompt]:
    """Every prompt of the other files."""
    files = sorted(path.name for path in FOLDER.glob("*.txt") if path.name != "loras.txt")
    return [_read_prompt(file, line) for file in files for line in _lines(file)]


def judge(real: RealPrompt, bind: Bind) -> tuple[str, str]:
    """Which of the four outcomes it is, and what was said or bound."""
    try:
        bound = bind(real.prompt)
    except CLoRAError as error:
        return (REFUSED_RIGHTLY if real.may_be_refused else REFUSED_WRONGLY), error.message
    said = _said(bound)
    told = "; ".join(f"{lora}: {answer}" for lora, answer in said.items())
    right = all(_is_right(said.get(lora), answers) for lora, answers in real.answers.items())
    return (BOUND_RIGHTLY if right and len(said) == len(real.answers) else BOUND_WRONGLY), told


def _lines(file: str) -> list[str]:
    lines = (FOLDER / file).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("# ")]


def _read_prompt(file: str, line: str) -> RealPrompt:
    prompt, _, written = line.partition(" => ")
    answers: dict[str, tuple[str, ...]] = {}
    for item in written.split("; "):
        lora, _, right = item.strip().partition(": ")
        answers[lora] = tuple(_plain(one) for one in right.split(" / "))
    return RealPrompt(file, prompt.replace("\\n", "\n"), answers)


def _plain(answer: str) -> str:
    """An answer without the signs between its words; the number stays."""
    words, _, number = answer.partition(" #")
    return " ".join(split_words(words)).casefold() + (f" #{number}" if number else "")


def _said(bound: BoundPrompt) -> dict[str, str]:
    said = {subject.lora: f"{_plain(subject.words)} #{subject.occurrence}" for subject in bound.subjects}
    for style in bound.styles:
        said[style.lora] = "style" if style.on is None else _plain(f"on {bound.subjects[style.on].lora}")
    return said


def _is_right(said: str | None, answers: tuple[str, ...]) -> bool:
    """Whether one of ``answers`` is what was said; without a number any place will do."""
    if said is None:
        return False
    return said in answers or said.partition(" #")[0] in answers
