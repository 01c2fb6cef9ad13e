"""Cross-attention of routed rows: every pixel attends to the text of the branch that draws it.

```
a routed row's pixels     . a a b       the layer runs on them with the base's text: the background
packed by branch          a a | b       it runs again on these, as a batch of two with the texts of a and b
put back over             . A A B
```

So attention is computed by whatever the host has put there, and where one branch draws by itself the result is that
branch's own, exactly. Where several share a pixel their results are averaged by share.

Where all rows are routed and nobody looks at the layer's maps, once is enough (``_Joined``): the background is one more
branch, cut into groups as long as the others.
"""

from collections.abc import Generator, Iterable, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from clora_ext.attention.capture import Recorder
from clora_ext.batch.conditions import StepConditions
from clora_ext.batch.context import CalledRows, ForwardContext
from clora_ext.batch.packing import PixelGroups
from clora_ext.batch.regions import RegionPyramid
from clora_ext.batch.rows import Row, true_runs
from clora_ext.core.shapes import GroupPixels, LayerPixels, LayerTokens

CONTEXT = ("context", "encoder_hidden_states")
"""What ldm and diffusers call the text that a cross-attention layer is given."""


class LayerCall(NamedTuple):
    """A layer as it was called."""

    layer: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @property
    def pixels(self) -> LayerPixels:
        """The first argument, [row, pixel, width]."""
        found: Tensor = self.args[0] if self.args else next(iter(self.kwargs.values()))
        return found

    @property
    def tokens(self) -> LayerTokens:
        """The text, [row, token, width]."""
        found: Tensor = next((self.kwargs[name] for name in CONTEXT if name in self.kwargs), self.args[-1])
        return found

    def instead(self, pixels: GroupPixels, tokens: Tensor) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Its arguments with other pixels and another text."""
        name = next((name for name in CONTEXT if name in self.kwargs), None)
        return ((pixels, tokens), {}) if name is None else ((pixels,), {name: tokens})

    def repeat(self, pixels: GroupPixels, tokens: Tensor) -> GroupPixels:
        """Call it once more, on other pixels with another text."""
        args, kwargs = self.instead(pixels, tokens.to(self.tokens))
        found: Tensor = self.layer(*args, **kwargs)
        return found


class _Texts:
    """The texts of groups: ``base`` has for those of the background, which come first, the row whose text it is."""

    def __init__(self, base: Sequence[int], others: Sequence[Row], device: torch.device) -> None:
        self._base = torch.tensor(base, dtype=torch.int64, device=device)
        self._others = others
        self._given: Tensor | None = None
        self._tokens: Tensor | None = None

    def stacked(self, given: LayerTokens, context: ForwardContext) -> Tensor | None:
        """Every group's [group, token, width], the background's as it is ``given``; None where lengths differ."""
        if self._given is not given:
            self._given, self._tokens = given, self._stack(given, context)
        return self._tokens

    def _stack(self, given: LayerTokens, context: ForwardContext) -> Tensor | None:
        (_, first), *more = _conditions(context).groups(self._others)
        if more or first.tokens.shape[1] != given.shape[1]:
            return None
        return torch.cat([given.index_select(0, self._base), first.tokens.to(given)])


class _Joined(NamedTuple):
    """A layer's pixels of routed rows, those of the background among them, as one batch in the rows' place."""

    groups: PixelGroups
    called: CalledRows
    """What hooks see inside of the layer."""
    texts: _Texts


def _texts(groups: Sequence[Row], called: CalledRows, version: int, device: torch.device) -> _Texts:
    """Those of ``groups`` of the called rows, the same for all sizes at which the groups are the same.

    They are let go of when the masks have another ``version``.
    """
    kept_version, kept = called.kept.get("texts", (None, {}))
    if kept_version != version:
        kept = {}
        called.kept["texts"] = version, kept
    if (groups, device) not in kept:
        place = {(row.image, row.half): number for number, row in enumerate(called.rows)}
        base = [place[row.image, row.half] for row in groups if row.branch == 0]
        kept[groups, device] = _Texts(base, groups[len(base) :], device)
    found: _Texts = kept[groups, device]
    return found


@contextmanager
def regional_attention(layers: Iterable[nn.Module], recorder: Recorder) -> Generator[None, None, None]:
    """While inside, routed rows attend by region in the cross-attention ``layers`` that ``recorder`` looks at."""
    hooks = _Hooks(recorder)
    with ExitStack() as stack:
        for layer in layers:
            for handle in (
                layer.register_forward_pre_hook(hooks.gather, with_kwargs=True),
                layer.register_forward_hook(hooks.attend, with_kwargs=True),
            ):
                stack.callback(handle.remove)
        yield


class _Hooks:
    """Before and after a layer."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.context = recorder.context
        self._open: _Joined | None = None
        self._outside: CalledRows | None = None

    def gather(
        self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Put the packed pixels of all branches in the place of the rows', where that can be done."""
        called = self.context.called
        if called is None or called.regions is None:
            return None
        call = LayerCall(layer, args, kwargs)
        joined = self._joined(call.pixels, called, called.regions)
        tokens = joined.texts.stacked(call.tokens, self.context) if joined else None
        if joined is None or tokens is None:
            return None
        self._open, self._outside, self.context.called = joined, called, joined.called
        return call.instead(joined.groups.gather(call.pixels), tokens)

    def attend(self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> Tensor | None:
        """The rows' own, from one batch of all branches or by another call for those that are not the base."""
        called, joined = self.context.called, self._open
        if called is None:
            return None
        if joined is not None and called is joined.called:
            self._open, self.context.called = None, self._outside
            return joined.groups.collect(output)
        return (
            None if called.regions is None else _attend_by_region(LayerCall(layer, args, kwargs), output, self.context)
        )

    def _joined(self, pixels: LayerPixels, called: CalledRows, regions: RegionPyramid) -> _Joined | None:
        """For the called rows, found again as long as they have the same masks."""
        if self.recorder.wants(pixels.shape[1]):
            return None
        key = "joined", pixels.shape[1], pixels.dtype, pixels.device
        version, found = called.kept.get(key, (None, None))
        if version != regions.version:
            found = self._join(pixels, called, regions)
            called.kept[key] = regions.version, found
        joined: _Joined | None = found
        return joined

    def _join(self, pixels: LayerPixels, called: CalledRows, regions: RegionPyramid) -> _Joined | None:
        rows = called.rows
        if not all(row.routed for row in rows):
            return None
        groups = regions.pixel_groups(rows, regions.grid(pixels.shape[1]), pixels, with_base=True)
        if groups is None:
            return None
        inside = self.context.called_rows(groups.groups, in_region=True)
        return _Joined(groups, inside, _texts(groups.groups, called, regions.version, pixels.device))


def _attend_by_region(call: LayerCall, output: LayerPixels, context: ForwardContext) -> LayerPixels:
    """``output`` [row, pixel, width] with the routed rows' own in their places."""
    rows = context.rows_now
    pieces: list[Tensor] = []
    start = 0
    for run in true_runs([row.routed for row in rows]):
        if run == slice(0, len(rows)):
            return _routed(call, call.pixels, output, rows, context)
        pieces.append(output[start : run.start])
        pieces.append(_routed(call, call.pixels[run], output[run], rows[run], context))
        start = run.stop
    return torch.cat([*pieces, output[start:]])


def _routed(
    call: LayerCall, pixels: LayerPixels, output: LayerPixels, rows: Sequence[Row], context: ForwardContext
) -> LayerPixels:
    """What routed ``rows`` find: the groups' own over the ``output`` for the base's text."""
    regions = context.forward.regions
    if regions is None:
        raise RuntimeError("a routed row is drawn before there are masks")
    groups = regions.pixel_groups(rows, regions.grid(pixels.shape[1]), output)
    if groups is None:
        return output
    found = _attend_groups(call, groups.gather(pixels), groups.groups, context)
    return groups.scatter(output, found)


def _attend_groups(call: LayerCall, pixels: GroupPixels, rows: Sequence[Row], context: ForwardContext) -> GroupPixels:
    """What the layer finds for the packed ``pixels`` [group, pixel, width], every group as a row of its branch."""
    parts = _conditions(context).groups(rows)
    if len(parts) == 1:
        with context.as_rows(rows):
            return call.repeat(pixels, parts[0][1].tokens)
    inner = torch.empty_like(pixels)
    for places, condition in parts:
        with context.as_rows([rows[place] for place in places]):
            found = call.repeat(pixels[places], condition.tokens)
        inner[places] = found.to(inner.dtype)
    return inner


def _conditions(context: ForwardContext) -> StepConditions:
    conditions = context.forward.conditions
    if conditions is None:
        raise RuntimeError("a routed row is drawn without its branches' texts")
    return conditions
