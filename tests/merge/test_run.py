"""A whole merge: its order, its groups, and that nothing done is done again."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn

from clora_ext.merge.features import Samples, seen
from clora_ext.merge.layer import FactoredDelta
from clora_ext.merge.methods import MERGE_METHODS
from clora_ext.merge.run import Stage, stage_of
from clora_ext.merge.span import LoraSpan
from clora_ext.merge.store import Store
from tests.merge.toy_source import CONVOLVED, CROSS, NORM, TEXT, bits, toy_lora, toy_merge

ROOT = Path(__file__).resolve().parents[2]


def test_layers_belong_to_the_stage_that_their_name_tells():
    assert stage_of("lora_te2_text_model_encoder_layers_0_mlp_fc1") is Stage.TEXT
    assert stage_of("lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_v") is Stage.CROSS
    assert stage_of("lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_v") is Stage.PICTURE


def test_each_stage_sees_those_before_it_merged_and_one_loras_own_layers(tmp_path: Path):
    merge, source = toy_merge(tmp_path)
    found = merge.run()
    assert [(stage, lora) for stage, lora, _, _ in source.asked] == [
        (stage, lora) for stage in Stage for lora in (0, 1)
    ]
    own = [toy_lora(1), toy_lora(2)]
    for stage, lora, active, watched in source.asked:
        assert all(stage_of(layer) is stage for layer in watched)
        for layer, delta in active.items():
            expected = own[lora].delta(layer) if stage_of(layer) is stage else found[layer].delta
            assert torch.equal(delta.matrix, expected.matrix), (stage, layer)
    assert set(source.asked[-1][2]) == {TEXT, CROSS, CONVOLVED}
    assert set(source.asked[-2][2]) == {TEXT, CROSS, CONVOLVED, NORM}


def test_a_norm_and_a_bias_are_the_mean(tmp_path: Path):
    solved = toy_merge(tmp_path)[0].run()[NORM]
    alone = toy_lora(1).delta(NORM)
    torch.testing.assert_close(solved.delta.matrix, alone.matrix / 2)
    torch.testing.assert_close(solved.delta.bias, alone.bias / 2)


@pytest.mark.parametrize("method", sorted(MERGE_METHODS.keys() - {"ssr"}))  # which asks for routes, not for nearness
def test_every_layer_is_nearer_to_its_loras_than_nothing_is(tmp_path: Path, method: str):
    found = toy_merge(tmp_path, method=method)[0].run()
    assert set(found) == {TEXT, CROSS, CONVOLVED, NORM}
    assert all(solved.error < 1.0 for solved in found.values())
    assert isinstance(found[CROSS].delta, FactoredDelta) == (method != "official")


def test_little_memory_makes_more_groups_and_the_same_numbers(tmp_path: Path):
    whole, _ = toy_merge(tmp_path / "a", method="unrestricted")
    split, source = toy_merge(tmp_path / "b", method="unrestricted", budget=1)
    assert [len(group.layers) for group in split.groups] == [1, 1, 1, 1]
    assert max(group.nbytes for group in split.groups) < max(group.nbytes for group in whole.groups) + 1
    assert bits(split.run()) == bits(whole.run())
    assert len(source.asked) == 8


def test_the_units_of_work_are_all_told(tmp_path: Path):
    told: list[str] = []
    merge, _ = toy_merge(tmp_path, told.append)
    merge.run()
    assert len(told) == merge.total == 10
    told.clear()
    again, source = toy_merge(tmp_path, told.append)
    again.run()
    assert len(told) == again.total and not source.asked


def test_features_take_the_room_that_was_told_and_are_gone_in_the_end(tmp_path: Path):
    largest = 0

    def look(_: str) -> None:
        nonlocal largest
        largest = max(largest, sum(path.stat().st_size for path in tmp_path.glob("*.features")))

    merge, _ = toy_merge(tmp_path, look)
    merge.run()
    assert merge.disk_bytes < largest < merge.disk_bytes + 4000
    assert not list(tmp_path.glob("*.features")) and not list(tmp_path.glob("*.part"))


def test_another_job_starts_anew(tmp_path: Path):
    toy_merge(tmp_path)[0].run()
    assert len(list(tmp_path.glob("*.merged"))) == 4
    assert Store(tmp_path, {"method": "span"}).merged([TEXT])
    another = Store(tmp_path, {"method": "official"})
    assert another.merged([TEXT]), "nothing is removed before it begins"
    another.begin()
    assert not another.merged([TEXT])


def test_what_is_kept_is_what_was_found(tmp_path: Path):
    merge, _ = toy_merge(tmp_path)
    found = merge.run()
    kept = merge.store.merged(list(found))
    assert bits(kept) == bits(found)
    assert {layer: (each.error, each.ridge, each.steps) for layer, each in kept.items()} == {
        layer: (each.error, each.ridge, each.steps) for layer, each in found.items()
    }


@pytest.fixture
def products() -> Iterator[Callable[[], list[bool]]]:
    """Whether a GPU may round what it multiplies, which it may at first."""
    kinds = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [kind.allow_tf32 for kind in kinds]
    for kind in kinds:
        kind.allow_tf32 = True
    yield lambda: [kind.allow_tf32 for kind in kinds]
    for kind, allowed in zip(kinds, before, strict=True):
        kind.allow_tf32 = allowed


def test_a_gpu_rounds_no_product_while_it_runs(tmp_path: Path, products: Callable[[], list[bool]]):
    seen: list[bool] = []
    toy_merge(tmp_path, lambda _: seen.extend(products()))[0].run()
    assert seen
    assert not any(seen)
    assert all(products())


@pytest.mark.parametrize("units", [1, 4, 8])
def test_killed_at_any_moment_it_goes_on_to_the_same_bits(tmp_path: Path, units: int):
    command = [sys.executable, "-m", "tests.merge.toy_source", str(tmp_path / "killed")]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
    ) as process:
        for _ in range(units):
            assert process.stdout.readline()
            process.stdin.write("\n")
            process.stdin.flush()
        process.kill()
    done = {path.name for path in (tmp_path / "killed").glob("*.merged")}
    assert len(done) < 4
    again, source = toy_merge(tmp_path / "killed")
    found = again.run()
    assert bits(found) == bits(toy_merge(tmp_path / "whole")[0].run())
    assert len(source.asked) < 6, "all of it was done again"


def test_a_file_that_was_being_written_is_written_again(tmp_path: Path):
    merge, _ = toy_merge(tmp_path)
    (tmp_path / f"{TEXT}.part").write_bytes(b"half")
    assert set(merge.run()) == {TEXT, CROSS, CONVOLVED, NORM}
    with safe_open(str(tmp_path / f"{TEXT}.merged"), framework="pt") as file:
        assert set(file.keys()) == {"up", "down"}


@pytest.mark.parametrize("layer", [nn.Conv2d(4, 6, 3, stride=2, padding=1), nn.Conv2d(4, 6, 1), nn.Linear(4, 6)])
def test_a_layers_output_is_its_weight_times_its_samples(layer: nn.Module):
    x = torch.randn(2, 4, 6, 4) if isinstance(layer, nn.Conv2d) else torch.randn(2, 5, 4)
    samples = seen(layer, x, LoraSpan(None, None))
    found = samples @ layer.weight.flatten(1).T + layer.bias
    output = layer(x).permute(0, 2, 3, 1) if isinstance(layer, nn.Conv2d) else layer(x)
    torch.testing.assert_close(found, output.flatten(0, -2))
    rows = torch.linalg.qr(torch.randn(samples.shape[1], 3)).Q.T
    torch.testing.assert_close(seen(layer, x, LoraSpan(rows, None)), samples @ rows.T)


def test_samples_are_of_the_same_places_whatever_the_lora():
    first, second = Samples(3), Samples(3)
    for kept in (first, second):
        kept.add(torch.arange(10.0)[:, None], held=False)
        kept.add(torch.arange(10.0)[:, None], held=True)
        kept.add(torch.arange(2.0)[:, None], held=False)
    assert first.tensors()["samples"].shape == (5, 1)
    assert torch.equal(first.tensors()["samples"], second.tensors()["samples"])
