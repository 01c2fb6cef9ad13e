"""A merged file goes through our own reader to the same deltas, says what it is, and is never half there."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from clora_ext.errors import LoraError
from clora_ext.lora.files import read_lora
from clora_ext.merge.baselines import BaselineNumbers, merged_layers
from clora_ext.merge.inputs import Ingredient, deltas_at, layers_of, read_ingredients
from clora_ext.merge.layer import FactoredDelta, LayerDelta, MatrixDelta
from clora_ext.merge.metadata import merged_metadata
from clora_ext.merge.output import PART, PRECISIONS, OutputForm, write_merged, written_layer
from clora_ext.merge.recipe import HEADER_KEY, Part, Recipe, recipe_of

torch.manual_seed(0)
LINEAR, CONV, POINT, NORM = (12, 10), (12, 5, 3, 3), (12, 10, 1, 1), (12,)
TO_Q, CONV1 = (
    "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q",
    "lora_unet_down_blocks_0_resnets_0_conv1",
)
PROJ, NORM1 = "lora_unet_down_blocks_0_attentions_0_proj_in", "lora_unet_down_blocks_0_resnets_0_norm1"
DELTAS: dict[str, LayerDelta] = {
    TO_Q: FactoredDelta(LINEAR, torch.randn(12, 3), torch.randn(3, 10)),
    CONV1: FactoredDelta(CONV, torch.randn(12, 2), torch.randn(2, 45)),
    PROJ: FactoredDelta(POINT, torch.randn(12, 2), torch.randn(2, 10)),
    NORM1: MatrixDelta(NORM, torch.randn(12, 1), torch.randn(12)),
    "lora_te_text_model_encoder_layers_0_mlp_fc1": MatrixDelta(LINEAR, torch.randn(12, 10), torch.randn(12)),
    "lora_te_text_model_encoder_layers_0_mlp_fc2": MatrixDelta(LINEAR, torch.randn(12, 10)),
}
TINY = Path(__file__).parents[2] / "tiny_world" / "weights" / "lora"


def _write(path: Path, form: OutputForm, metadata: dict[str, str] | None = None, *, overwrite: bool = False) -> Path:
    layers = {name: written_layer(delta, form) for name, delta in DELTAS.items()}
    write_merged(path, layers, metadata or {}, overwrite=overwrite)
    return path


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("kind", ["low_rank", "full"])
def test_our_own_reader_finds_the_same_deltas(tmp_path: Path, kind: str, dtype: str):
    form = OutputForm(kind, energy=1.0, dtype=dtype)
    (lora,) = read_ingredients([Ingredient(_write(tmp_path / "six.safetensors", form))], "Stable Diffusion 1.x")
    assert set(lora.layers) == set(DELTAS)
    near = {"fp32": 1e-5, "fp16": 2e-3, "bf16": 2e-2}[dtype]
    for layer, delta in DELTAS.items():
        found = lora.delta(layer)
        assert found.shape == delta.shape
        assert float((found.matrix - delta.matrix).norm()) <= near * float(delta.matrix.norm())
        assert written_layer(delta, form).error <= near
        if delta.bias is not None:
            torch.testing.assert_close(found.bias, delta.bias, rtol=near, atol=near)
    assert {part.dtype for part in load_file(tmp_path / "six.safetensors").values()} == {PRECISIONS[dtype]}


def test_a_chosen_rank_is_the_rank_and_its_error_is_told():
    delta = DELTAS["lora_te_text_model_encoder_layers_0_mlp_fc2"]
    values = torch.linalg.svdvals(delta.matrix)
    for rank in (1, 4, 10, 99):
        found = written_layer(delta, OutputForm(rank=rank, dtype="fp32"))
        assert found.rank == min(rank, 10)
        assert found.error == pytest.approx(float(values[rank:].norm() / values.norm()), abs=1e-5)


def test_convolutions_may_have_another_rank():
    form = OutputForm(rank=3, conv_rank=1)
    assert [written_layer(DELTAS[layer], form).rank for layer in (TO_Q, CONV1, PROJ)] == [3, 1, 2]


def test_auto_takes_the_rank_that_is_there():
    found = {layer: written_layer(DELTAS[layer], OutputForm()) for layer in (TO_Q, CONV1, PROJ)}
    assert [layer.rank for layer in found.values()] == [3, 2, 2]
    assert max(layer.error for layer in found.values()) < 0.01
    assert written_layer(DELTAS[TO_Q], OutputForm(energy=0.3)).rank < 3


def test_auto_writes_a_difference_where_factors_would_be_larger():
    found = written_layer(DELTAS["lora_te_text_model_encoder_layers_0_mlp_fc2"], OutputForm())
    assert (found.rank, set(found.tensors)) == (None, {"diff"})


def test_nothing_is_written_as_nothing():
    nothing = FactoredDelta(LINEAR, torch.zeros(12, 2), torch.zeros(2, 10))
    found = written_layer(nothing, OutputForm())
    assert (found.rank, found.error) == (1, 0.0)


def test_numbers_too_large_for_a_kind_are_told():
    large = MatrixDelta(LINEAR, torch.full(LINEAR, 1e6))
    with pytest.raises(LoraError, match=r"too large for fp16: choose bf16 or fp32"):
        written_layer(large, OutputForm("full"))
    assert written_layer(large, OutputForm("full", dtype="bf16")).error < 0.01


# -- the file ----------------------------------------------------------------------------------------------------------


def test_it_is_there_at_once_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = _write(tmp_path / "six.safetensors", OutputForm())
    before = path.read_bytes()
    with pytest.raises(LoraError, match=r"six.safetensors is there already: choose another name, or allow"):
        _write(path, OutputForm(dtype="fp32"))

    def broken(tensors: object, name: str, metadata: object) -> None:
        Path(name).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("clora_ext.merge.output.save_file", broken)
    with pytest.raises(LoraError, match=r"can not be written \(.*No space left.*nothing was changed"):
        _write(path, OutputForm(dtype="fp32"), overwrite=True)
    assert path.read_bytes() == before
    assert sorted(each.name for each in tmp_path.iterdir()) == ["six.json", "six.safetensors"]
    monkeypatch.undo()
    path.with_name(path.name + PART).write_bytes(b"what a killed merge has left")
    _write(path, OutputForm(dtype="fp32"), overwrite=True)
    assert path.read_bytes() != before
    assert sorted(each.name for each in tmp_path.iterdir()) == ["six.json", "six.safetensors"]


def test_who_may_read_other_files_may_read_it(tmp_path: Path):
    usual = tmp_path / "usual"
    usual.touch()
    assert _write(tmp_path / "six.safetensors", OutputForm()).stat().st_mode == usual.stat().st_mode


def test_a_users_own_note_stays(tmp_path: Path):
    note = tmp_path / "six.json"
    note.write_text('{"activation text": "mine"}', encoding="utf-8")
    _write(tmp_path / "six.safetensors", OutputForm())
    assert json.loads(note.read_text(encoding="utf-8")) == {"activation text": "mine"}


def test_its_hashes_are_kohyas(tmp_path: Path):
    path = _write(tmp_path / "six.safetensors", OutputForm(), {"ss_network_dim": "4", "modelspec.title": "six"})
    whole = path.read_bytes()
    with safe_open(str(path), framework="pt") as file:
        metadata = file.metadata()
    start = 8 + int.from_bytes(whole[:8], "little")
    assert metadata["sshs_model_hash"] == hashlib.sha256(whole[start:]).hexdigest()
    assert metadata["sshs_legacy_hash"] == hashlib.sha256(b"").hexdigest()[:8]  # of a file below a MiB
    assert metadata["modelspec.title"] == "six"


# -- what it says ------------------------------------------------------------------------------------------------------

RECIPE = Recipe(
    "ties",
    (Part("tuxcat", 0.8, "vako cat", "12ab"), Part("browndog", 1.0, "", "")),
    "tiny-world.safetensors",
    {"density": 0.2, "rank": None},
)


@pytest.mark.world
def test_it_says_what_it_is(tmp_path: Path):
    wanted = [Ingredient(TINY / f"{name}.safetensors") for name in ("tuxcat", "browndog")]
    loras = read_ingredients(wanted)
    merged = dict(merged_layers("concat", loras, BaselineNumbers()))
    layers = {layer: written_layer(delta, OutputForm(rank=8)) for layer, delta in merged.items()}
    path = tmp_path / "six.safetensors"
    write_merged(path, layers, merged_metadata("six", loras, layers, RECIPE))
    file = read_lora(path)
    told = file.metadata
    assert (told["ss_network_dim"], told["ss_network_alpha"], told["ss_base_model_version"]) == ("8", "8", "sd_v1")
    assert file.trigger == "vako cat, pleko dog"
    assert json.loads(told["ss_tag_frequency"]) == {"vako cat": {"vako cat": 1}, "pleko dog": {"pleko dog": 1}}
    assert told["modelspec.architecture"] == "stable-diffusion-v1/lora"
    note = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert note == {"activation text": "vako cat, pleko dog", "preferred weight": 1.0, "sd version": "SD1"}
    (again,) = read_ingredients([Ingredient(path)])
    assert again.family == "Stable Diffusion 1.x"
    for layer, those in layers_of(loras).items():
        whole = sum(delta.matrix for delta in deltas_at(layer, those))
        assert float((again.delta(layer).matrix - whole).norm()) < 2e-3 * float(whole.norm())


def test_ranks_that_differ_are_dynamic(tmp_path: Path):
    (lora,) = read_ingredients([Ingredient(_write(tmp_path / "a.safetensors", OutputForm()))])
    layers = {layer: written_layer(DELTAS[layer], OutputForm()) for layer in (TO_Q, CONV1)}
    told = merged_metadata("six", [lora], layers, RECIPE)
    assert told["ss_network_dim"] == told["ss_network_alpha"] == "Dynamic"
    assert "ss_base_model_version" not in told


def test_the_recipe_comes_back_from_the_header(tmp_path: Path):
    path = _write(tmp_path / "six.safetensors", OutputForm(), RECIPE.metadata())
    recipe = recipe_of("six", read_lora(path).metadata)
    assert recipe == RECIPE
    found = recipe.ingredients(lambda name: tmp_path / f"{name}.safetensors")
    assert found[0] == Ingredient(tmp_path / "tuxcat.safetensors", 0.8, "vako cat")


def test_a_recipe_names_what_is_gone():
    with pytest.raises(LoraError, match=r"The recipe's LoRAs tuxcat, browndog are not here: put them"):
        RECIPE.ingredients(lambda _: None)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "has no recipe in its header"),
        ("{", "is damaged"),
        ("[1]", "is damaged"),
        ('{"version": 1, "method": "ties", "loras": [{"nam": "x"}]}', "is damaged"),
        ('{"version": 9, "method": "ties", "loras": []}', "is of version 9, and this extension reads 1"),
    ],
)
def test_a_recipe_that_can_not_be_read_is_told(text: str | None, told: str):
    with pytest.raises(LoraError, match=told):
        recipe_of("six", {} if text is None else {HEADER_KEY: text})
