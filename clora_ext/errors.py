"""Errors whose message is a sentence for the user: what is wrong and what to change."""

import traceback
from collections.abc import Iterator
from reprlib import Repr

_MOST_CAUSES = 10
_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = 200


def shown(value: object) -> str:
    """``value`` as Python writes it, shortened, for a sentence on it."""
    return _SHORT.repr(value)


class CLoRAError(Exception):
    """A request that can not be met.

    ``field`` names what to change. ``status_code`` and ``detail`` are what WebUI's API answers with; it reads them
    from the instance.
    """

    status = 422

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.status_code = self.status
        detail = message if field is None else f"{field}: {message}"
        self.detail = detail.encode("utf-8", "replace").decode("utf-8")  # halves of signs can not be sent


class PromptError(CLoRAError):
    """The prompt's own syntax."""


class BindingError(CLoRAError):
    """Which LoRA goes to which subject."""


class SettingsError(CLoRAError):
    """A knob, profile or method."""


class LoraError(CLoRAError):
    """A LoRA file that is missing, unreadable or made for another model."""


class HostError(CLoRAError):
    """Something the host does that can not be combined with composing."""

    status = 409


class BatchError(HostError, RuntimeError):
    """A layer was given other samples than the rows that were planned: somebody has changed the batch."""


class CLoRA(CLoRAError):  # noqa: N818 - WebUI's page puts the name of an error's class before what it says
    """Any of these as WebUI's page is to show it."""


def causes(error: BaseException) -> Iterator[BaseException]:
    """``error`` and what it came of, the last first."""
    seen: list[BaseException] = []
    now: BaseException | None = error
    while now is not None and now not in seen and len(seen) < _MOST_CAUSES:
        seen.append(now)
        yield now
        now = now.__cause__ or (None if now.__suppress_context__ else now.__context__)


def let_go(error: BaseException) -> None:
    """Free what the frames of ``error`` and of its causes hold. Who keeps an error, as the host's server does until its
    thread has another request, keeps a job's tensors otherwise.
    """
    for each in causes(error):
        traceback.clear_frames(each.__traceback__)
