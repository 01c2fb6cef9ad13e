"""``python -m clora_ext merge`` on the tiny world."""

from pathlib import Path

import pytest
import torch

from clora_ext.hosts.diffusers.merge_cli import merge_main
from clora_ext.lora.files import LoraFile, read_lora
from clora_ext.merge.job import UNDER_WAY
from clora_ext.merge.recipe import recipe_of
from tests.merge.killed import merging
from tiny_world.model import WEIGHTS

TWO = ["tuxcat", "browndog=0.5"]
QUICK = ["--steps", "1", "--precision", "fp32", "--prompt", "a {}", "--held-prompt", "the {}", "--joint-steps", "2"]
LAYER = "lora_unet_up_blocks_3_attentions_0_transformer_blocks_0_attn2_to_v"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("merged")


@pytest.fixture(scope="module")
def merged(folder: Path) -> LoraFile:
    out = folder / "two.safetensors"
    assert merge_main([*TWO, "--out", str(out), *QUICK]) == 0
    return read_lora(out)


def _matrix(file: LoraFile, layer: str) -> torch.Tensor:
    parts = file.layers[layer]
    rank = len(parts["lora_down.weight"])
    return parts["lora_up.weight"] @ parts["lora_down.weight"] * (float(parts["alpha"]) / rank)


def test_the_file_has_every_layer_of_either(merged: LoraFile):
    own = [read_lora(WEIGHTS / "lora" / f"{name}.safetensors") for name in ("tuxcat", "browndog")]
    assert set(merged.layers) == {layer for file in own for layer in file.layers}
    assert all(_matrix(merged, layer).abs().max() > 0 for layer in merged.layers)


def test_it_says_what_it_was_made_of(merged: LoraFile):
    assert merged.metadata["modelspec.trigger_phrase"] == "vako cat, pleko dog"
    recipe = recipe_of("two", merged.metadata)
    assert [(part.name, part.ratio) for part in recipe.loras] == [("tuxcat", 1.0), ("browndog", 0.5)]
    assert recipe.method == "default" and recipe.base == "tiny-world.safetensors"


def test_what_was_under_way_is_gone_and_nothing_is_overwritten(
    merged: LoraFile, folder: Path, capsys: pytest.CaptureFixture[str]
):
    assert not list(folder.glob(f"*{UNDER_WAY}"))
    assert merge_main([*TWO, "--out", str(folder / "two.safetensors"), *QUICK]) == 2
    assert "two.safetensors is there already" in capsys.readouterr().err


def test_loras_of_other_layers_merge_too(folder: Path):
    out = folder / "style.safetensors"
    assert merge_main(["tuxcat", "lineart", "--out", str(out), "--method", "svd", "--rank", "3"]) == 0
    layers = read_lora(out).layers
    assert {len(parts["lora_down.weight"]) for parts in layers.values()} == {3}
    assert len(layers) == 112


def test_a_known_way_needs_no_pictures(folder: Path):
    out = folder / "sum.safetensors"
    assert merge_main([*TWO, "--out", str(out), "--method", "weighted_sum", "--precision", "fp32"]) == 0
    cat, dog = (read_lora(WEIGHTS / "lora" / f"{name}.safetensors") for name in ("tuxcat", "browndog"))
    wanted = _matrix(cat, LAYER) + 0.5 * _matrix(dog, LAYER)
    found = _matrix(read_lora(out), LAYER)
    assert (found - wanted).norm() < 0.02 * wanted.norm()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["tuxcat", "tuxcat"], "is there twice"),
        (["tuxcat", "nobody"], "There is no LoRA “nobody”"),
        (["tuxcat", "browndog=much"], "“much” is no ratio"),
        (["tuxcat", "browndog=0"], "has the ratio 0"),
        ([*TWO, "--trigger", "spotdog: tirb dog"], "--trigger names spotdog"),
    ],
)
def test_what_can_not_be_merged_is_told(
    arguments: list[str], sentence: str, folder: Path, capsys: pytest.CaptureFixture[str]
):
    out = folder / "never.safetensors"
    assert merge_main([*arguments, "--out", str(out), "--method", "weighted_sum"]) == 2
    assert sentence in capsys.readouterr().err
    assert not out.exists()


def test_killed_after_a_stage_it_goes_on_to_the_same_file(merged: LoraFile, tmp_path: Path):
    command = [*TWO, *QUICK]
    under_way = tmp_path / f"killed.safetensors{UNDER_WAY}"
    with merging(command, tmp_path / "killed.safetensors") as process:
        while not list(under_way.glob("*attn2*.merged")):
            assert process.poll() is None
        process.kill()
    assert not (tmp_path / "killed.safetensors").exists()
    done = list(under_way.glob("*.merged"))
    with merging(command, tmp_path / "killed.safetensors") as process:
        assert process.wait() == 0
    assert 12 < len(done) < 112
    killed = read_lora(tmp_path / "killed.safetensors").tensors
    assert all(torch.equal(tensor, killed[key]) for key, tensor in merged.tensors.items())
