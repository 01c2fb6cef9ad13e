"""One merge from what is asked for to the file: what all doors to it share."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

from clora_ext.core.maps import Grid
from clora_ext.errors import LoraError, SettingsError
from clora_ext.merge.baselines import BASELINES
from clora_ext.merge.inputs import Ingredient, needs_base, read_ingredients
from clora_ext.merge.joint import STEPS_PER_LORA, JointReport
from clora_ext.merge.look import STAGES_TOLD
from clora_ext.merge.metadata import merged_metadata
from clora_ext.merge.methods import MERGE_METHODS
from clora_ext.merge.output import PRECISIONS, OutputForm, write_merged
from clora_ext.merge.prompts import AS_RELEASED, PROMPTS, Prompts
from clora_ext.merge.recipe import Part, Recipe
from clora_ext.merge.refusals import checked, most_bytes, require_room
from clora_ext.merge.run import BUDGET, Stage, stage_of
from clora_ext.merge.store import Store
from clora_ext.merge.work import Base, Effort, KnownWork, LayerDone, LearntWork, MergeModel, Tell

JOINT = "default"
"""The method that learns all layers together, after each by itself."""
UNDER_WAY = ".merging"
"""The ending of the folder of a merge that is not over, beside the file that it will write."""


@dataclass(frozen=True, slots=True)
class MergeRequest:
    """What somebody asks for."""

    ingredients: tuple[Ingredient, ...]
    out: Path
    """The merged file."""
    method: str = "default"
    form: OutputForm = field(default_factory=OutputForm)
    overwrite: bool = False
    learned: tuple[str, ...] = ()
    """What is learnt from, "{}" standing for the trigger; the first is drawn for layers one by one, all of them for
    joint steps. By default the method's own."""
    held: tuple[str, ...] = ()
    """What is judged by."""
    steps: int = 20
    """Of each picture."""
    size: Grid | None = None
    """Height and width in pixels; by default what the model was trained on."""
    memory: int = BUDGET
    """Bytes that may be kept of layers' inputs, and of a gradient's graph where the device tells of none."""
    joint_steps: int | None = None
    """In which all layers are learnt together; by default some for each LoRA, for ``default`` alone."""

    @property
    def is_learnt(self) -> bool:
        """Whether layers' inputs are looked at, which takes a checkpoint."""
        return self.method in MERGE_METHODS

    @property
    def prompts(self) -> Prompts:
        """What is drawn with each LoRA."""
        usual = AS_RELEASED if self.is_learnt and MERGE_METHODS[self.method].as_released else PROMPTS
        pictured = self.learned or usual.pictured
        return replace(usual, learned=self.learned or usual.learned, held=self.held or usual.held, pictured=pictured)

    @property
    def joint(self) -> int:
        """Joint steps."""
        if self.joint_steps is not None:
            return self.joint_steps
        return STEPS_PER_LORA * len(self.ingredients) if self.method == JOINT else 0

    def require_sense(self) -> None:
        """Raises ``SettingsError`` for what nothing can be made of."""
        if self.method not in [*MERGE_METHODS, *BASELINES]:
            known = ", ".join([*MERGE_METHODS, *BASELINES])
            raise SettingsError(f"There is no way to merge called “{self.method}”; choose one of {known}.", "method")
        if self.form.dtype not in PRECISIONS:
            raise SettingsError(f"“{self.form.dtype}” is no precision; choose {', '.join(PRECISIONS)}.", "precision")
        least = {"rank": self.form.rank, "conv_rank": self.form.conv_rank, "steps": self.steps, "memory": self.memory}
        for name, value in least.items():
            if value is not None and value < 1:
                raise SettingsError(f"{name} is {value}: choose 1 or more.", field=name)
        if self.joint < 0 or (self.joint and self.method != JOINT):
            msg = f"{self.joint} joint steps by {self.method}: it makes 0; choose the method {JOINT} for more."
            raise SettingsError(msg, field="joint_steps")


@dataclass(frozen=True, slots=True)
class StageReport:
    """What became of the layers of a stage."""

    layers: int
    lost: float
    """By rank and rounding, as a share of a layer's size; the mean over layers."""
    error: float | None
    """Of the merge itself on inputs held out, 0 as each LoRA alone and 1 as without any; the mean over layers."""
    worst: float | None

    def told(self, stage: Stage) -> str:
        """In words."""
        words = f"{STAGES_TOLD[stage]}: {self.layers} layers"
        if self.error is not None and self.worst is not None:
            words += f", error {self.error:.3f}, {self.worst:.3f} in the worst"
        return f"{words}; {self.lost:.2%} lost by rank and rounding"


@dataclass(frozen=True, slots=True)
class MergeReport:
    """What a merge came to."""

    path: Path
    triggers: tuple[str, ...]
    stages: Mapping[Stage, StageReport]
    seconds: float
    joint: JointReport | None = None
    """None where no layers were learnt together."""

    def lines(self) -> list[str]:
        """In words, one line for each stage, and what joint steps changed."""
        found = [report.told(stage) for stage, report in self.stages.items()]
        return found if self.joint is None else [*found, self.joint.told()]


class MergeJob:
    """A merge whose LoRAs are read and checked, and which can be run. ``open_base`` is asked only where one is needed.

    Raises ``CLoRAError`` for what can not be merged.
    """

    def __init__(self, request: MergeRequest, open_base: Callable[[], Base]) -> None:
        request.require_sense()
        self.request = request
        needed = request.is_learnt or any(needs_base(each.path) for each in request.ingredients)
        self.base = open_base() if needed else None
        model = self._model((), lambda: None) if self.base else None
        family = model.family if model else None
        self.loras = read_ingredients(request.ingredients, family, model.weights if model else None)
        self.notes = checked(self.loras, family)
        """What somebody should know before."""
        require_room(request.out, self.disk_bytes, self.loras, overwrite=request.overwrite)

    def _model(self, triggers: Sequence[str], on_step: Callable[[], None]) -> MergeModel:
        if self.base is None:
            raise LoraError("This way to merge draws with each LoRA: give the base.", field="base")
        request = self.request
        return self.base.model(triggers, request.prompts, request.steps, request.size, on_step)

    @property
    def file_bytes(self) -> int:
        """The most that the file needs."""
        return most_bytes(self.loras, self.request.form)

    @cached_property
    def work(self) -> KnownWork | LearntWork:
        """What is to be done."""
        request, loras = self.request, self.loras
        store = Store(request.out.with_name(request.out.name + UNDER_WAY), self._same())
        if not request.is_learnt:
            return KnownWork(request.method, loras, request.form, store)
        draw = partial(self._model, [lora.trigger for lora in loras])
        method = MERGE_METHODS[request.method]
        effort = Effort(request.memory, request.steps, request.joint)
        return LearntWork(method, loras, request.form, store, effort, draw)

    @property
    def disk_bytes(self) -> int:
        """The most that is needed on the disk, the file and its parts included."""
        return self.work.disk_bytes + 2 * self.file_bytes

    @property
    def room(self) -> str:
        """What the work takes at most beside the model and the LoRAs, in words."""
        memory, disk = self.work.memory_bytes, self.disk_bytes
        return f"takes up to {memory / 1e6:,.0f} MB of memory and {disk / 1e6:,.0f} MB of disk"

    def run(self, tell: Tell = lambda _: None) -> MergeReport:
        """Merge and write; ``tell`` is called ``work.total`` times. Raises what it raises, and ``CLoRAError``."""
        began = time.perf_counter()
        done = list(self.work.done(tell))
        request, layers = self.request, {layer.name: layer.written for layer in done}
        metadata = merged_metadata(request.out.stem, self.loras, layers, self.recipe)
        write_merged(request.out, layers, metadata, overwrite=request.overwrite)
        self.work.store.end()
        triggers = tuple(dict.fromkeys(lora.trigger for lora in self.loras if lora.trigger))
        joint = self.work.joint_report if isinstance(self.work, LearntWork) else None
        return MergeReport(request.out, triggers, _by_stage(done), time.perf_counter() - began, joint)

    @property
    def recipe(self) -> Recipe:
        """For the file's header."""
        request = self.request
        parts = tuple(
            Part(lora.name, lora.ingredient.ratio, lora.trigger, lora.file.metadata.get("sshs_model_hash", ""))
            for lora in self.loras
        )
        settings = {"steps": request.steps, **asdict(request.form)}
        settings |= {name: value for name, value in _asked(request).items() if value or value == 0}
        return Recipe(request.method, parts, self.base.name if self.base else "", settings)

    def _same(self) -> dict[str, object]:
        """What has to be the same for a merge to go on."""
        request = self.request
        files = [(str(each.path.resolve()), each.path.stat().st_mtime_ns) for each in request.ingredients]
        ratios = [(lora.ingredient.ratio, lora.trigger) for lora in self.loras]
        how: list[object] = [request.method, self.base.identity if self.base else None]
        how += [request.steps, request.size, request.memory, request.joint, asdict(request.prompts)]
        how += [] if request.is_learnt else [asdict(request.form)]  # of which layers are written one by one
        return {"files": files, "ratios": ratios, "how": how}


def _asked(request: MergeRequest) -> dict[str, object]:
    asked = {"size": request.size, "prompt": request.learned, "held_prompt": request.held}
    return asked | ({} if request.joint_steps is None else {"joint_steps": request.joint_steps})


def _by_stage(done: Sequence[LayerDone]) -> dict[Stage, StageReport]:
    found: dict[Stage, StageReport] = {}
    for stage in Stage:
        layers = [layer for layer in done if stage_of(layer.name) is stage]
        if layers:
            errors = [layer.error for layer in layers if layer.error is not None]
            lost = sum(layer.written.error for layer in layers) / len(layers)
            mean = sum(errors) / len(errors) if errors else None
            found[stage] = StageReport(len(layers), lost, mean, max(errors, default=None))
    return found
