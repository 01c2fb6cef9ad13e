"""The parts of the training: optimiser, supervised attention, noise schedule, latents, and the check's verdict."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor
from transformers import CLIPTokenizer

from tiny_world import train
from tiny_world.base_train import Diffusion
from tiny_world.caption import caption
from tiny_world.check import PAIRS, Outcome, Task, passes, prompt, shares
from tiny_world.model import TOKENIZER, WEIGHTS, alphas_cumprod, build_vae, load_pipeline_parts
from tiny_world.optim import Average, Muon, Replayed, orthogonalise, schedule, split_params
from tiny_world.render import render
from tiny_world.scene import sample_scene
from tiny_world.scenes import COUNTS, Batches, Pool, cover, encode, load_batches, make_batch, token_owners
from tiny_world.supervision import PlainAttention, attention_loss
from tiny_world.vae_train import normalise_latents, psnr, sample_picture, to_pixels, to_tensor
from tiny_world.worlds import FIRST


@pytest.fixture(scope="module")
def tokenizer() -> CLIPTokenizer:
    return CLIPTokenizer.from_pretrained(str(TOKENIZER))


@pytest.mark.parametrize("shape", [(8, 40), (40, 8), (16, 16)])
def test_orthogonalised_steps_have_singular_values_near_one(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 30
    values = torch.linalg.svdvals(orthogonalise(matrix))
    assert float(values.min()) > 0.5
    assert float(values.max()) < 1.35
    cosine = torch.nn.functional.cosine_similarity(orthogonalise(matrix).flatten(), matrix.flatten(), dim=0)
    assert float(cosine) > 0.7


def test_muon_finds_a_matrix() -> None:
    torch.manual_seed(0)
    goal = torch.randn(6, 3, 2, 2)
    weight = torch.nn.Parameter(torch.zeros(6, 3, 2, 2))
    optimizer = Muon([weight], lr=0.05)
    for step in range(200):
        for group in optimizer.param_groups:
            group["lr"] = 0.05 * (1 - step / 200)
        optimizer.zero_grad()
        (weight - goal).square().sum().backward()
        optimizer.step()
    assert float((weight.detach() - goal).abs().max()) < 0.1
    with pytest.raises(ValueError, match="closure"):
        optimizer.step(lambda: 0.0)


def test_params_are_split_by_kind() -> None:
    net = torch.nn.ModuleDict(
        {"e": torch.nn.Embedding(5, 4), "l": torch.nn.Linear(4, 4), "conv_in": torch.nn.Conv2d(1, 2, 3)}
    )
    matrices, rest = split_params([net], outer=("conv_in.weight",))
    assert [id(p) for p in matrices] == [id(net["l"].weight)]
    assert len(rest) == 4


def test_schedule_warms_up_and_decays() -> None:
    factors = [schedule(step, 100, warmup=10, decay_from=0.5, last=0.1) for step in range(101)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[20] == factors[50] == 1.0
    assert factors[75] == pytest.approx(0.55)
    assert factors[100] == pytest.approx(0.1)


def test_average_swaps_back() -> None:
    net = torch.nn.Linear(2, 2)
    first = net.weight.detach().clone()
    average = Average([net], 0.9)
    net.weight.data += 1
    average.update()
    average.swap()
    assert torch.all(net.weight > first)
    assert torch.all(net.weight < first + 1)
    average.swap()
    assert torch.equal(net.weight, first + 1)


def test_tokens_belong_to_the_noun_and_the_nonsense_word_before_it(tokenizer: CLIPTokenizer) -> None:
    rng = np.random.default_rng(1)
    slots = 0
    for _ in range(150):
        written = caption(sample_scene(rng), rng)
        encoded = tokenizer(written.text, padding="max_length", max_length=77, return_offsets_mapping=True)
        owners = token_owners(written, encoded["offset_mapping"])
        words = dict.fromkeys(range(len(written.nouns)), "")
        for owner, (start, end) in zip(owners, encoded["offset_mapping"], strict=True):
            if owner >= 0:
                words[int(owner)] += written.text[start:end]
        for index, (start, end, things) in enumerate(written.nouns):
            before = [written.text[s:e] for s, e, named in written.slots if named == things and e + 1 == start]
            assert words[index] == "".join(before) + written.text[start:end]
            slots += len(before)
    assert slots > 50


def perfect_maps(owners: torch.Tensor, regions: torch.Tensor) -> torch.Tensor:
    """Attention [b, 256, 77] that is all on a cell's own noun, and on token 0 elsewhere."""
    maps = torch.zeros(len(owners), 256, 77)
    flat = regions.flatten(2)
    for b in range(len(owners)):
        for cell in range(256):
            best = int(flat[b, :, cell].argmax())
            tokens = torch.nonzero(owners[b] == best).flatten() if flat[b, best, cell] > 0 else torch.tensor([0])
            maps[b, cell, tokens] = 1 / len(tokens)
    return maps


def test_attention_loss_prefers_each_noun_on_its_own_thing() -> None:
    owners = torch.full((1, 77), -1)
    owners[0, 2], owners[0, 5], owners[0, 6] = 0, 1, 1
    regions = torch.zeros(1, 4, 16, 16)
    regions[0, 0, 4:10, 1:7] = 1
    regions[0, 1, 4:10, 9:15] = 1
    good = perfect_maps(owners, regions)
    swapped = perfect_maps(owners, regions[:, [1, 0, 2, 3]])
    uniform = torch.full_like(good, 1 / 77)
    best, middle, worst = (float(attention_loss([maps], owners, regions)) for maps in (good, uniform, swapped))
    assert best < 0.01 < middle < worst
    assert float(attention_loss([], owners, regions)) == 0.0
    assert float(attention_loss([good], torch.full((1, 77), -1), regions)) == 0.0


def test_attention_loss_has_a_useful_gradient() -> None:
    torch.manual_seed(0)
    owners = torch.full((2, 77), -1)
    owners[:, 3], owners[:, 7] = 0, 1
    regions = torch.zeros(2, 4, 16, 16)
    regions[:, 0, 2:8, 2:8] = 1
    regions[:, 1, 9:14, 9:14] = 1
    logits = torch.zeros(2, 64, 77, requires_grad=True)
    before = attention_loss([logits.softmax(-1)], owners, regions)
    (gradient,) = torch.autograd.grad(before, logits)
    after = attention_loss([(logits - 200 * gradient).softmax(-1)], owners, regions)
    assert float(after) < 0.8 * float(before)


def test_plain_attention_is_attention_and_keeps_its_maps() -> None:
    torch.manual_seed(0)
    layer = Attention(query_dim=16, cross_attention_dim=12, heads=4, dim_head=4)
    x, context = torch.randn(2, 9, 16), torch.randn(2, 5, 12)
    layer.set_processor(AttnProcessor())
    expected = layer(x, context)
    plain = PlainAttention(keep=True)
    layer.set_processor(plain)
    assert torch.allclose(layer(x, context), expected, atol=1e-6)
    assert plain.maps is not None
    assert plain.maps.shape == (2, 9, 5)
    assert torch.allclose(plain.maps.sum(-1), torch.ones(2, 9))


def test_noise_and_weights_follow_the_schedule() -> None:
    diffusion = Diffusion(alphas_cumprod())
    times = torch.tensor([0, 500, 999])
    x, noise = torch.ones(3, 4, 2, 2), torch.zeros(3, 4, 2, 2)
    a = alphas_cumprod()[times]
    assert torch.allclose(diffusion.noisy(x, noise, times)[:, 0, 0, 0], a.sqrt())
    weights = diffusion.weight(times)
    assert float(weights[0]) == pytest.approx(5 * (1 - float(a[0])) / float(a[0]), rel=1e-4)
    assert float(weights[2]) == 1.0


def test_coverage_is_the_share_of_each_cell() -> None:
    silhouettes = np.zeros((1, 128, 128), bool)
    silhouettes[0, :8, :4] = True
    covered = cover(silhouettes)
    assert covered[0, 0, 0] in (127, 128)
    assert int(covered.sum()) == int(covered[0, 0, 0])


def test_batches_match_their_scenes(tokenizer: CLIPTokenizer) -> None:
    rng = np.random.default_rng(3)
    scenes = [sample_scene(rng, COUNTS) for _ in range(40)]
    covers = torch.stack([cover(render(s).silhouettes) for s in scenes])
    pool = Pool(torch.randn(40, 4, 16, 16), covers, scenes)
    rows = pool.rows(rng, 400)
    share = np.mean([len(pool.scenes[row].things) == 4 for row in rows])
    assert abs(share - COUNTS[3]) < 0.1
    batch = make_batch(pool, rows[:16], tokenizer, rng, 0.0)
    for i, row in enumerate(rows[:16]):
        covered = pool.coverage[row].float().sum(0) / 255
        assert torch.allclose(batch.regions[i].sum(0), covered, atol=0.3)
        assert torch.equal(
            batch.regions[i].sum((1, 2)) > 0, torch.tensor([int((batch.owners[i] == k).sum()) > 0 for k in range(4)])
        )
    dropped = make_batch(pool, rows[:16], tokenizer, rng, 1.0)
    assert int((dropped.owners >= 0).sum()) == 0
    assert int((dropped.ids[:, 1] != tokenizer.eos_token_id).sum()) == 0


def test_batches_come_from_helpers_as_from_here(tokenizer: CLIPTokenizer) -> None:
    vae = build_vae().eval()
    scenes = [sample_scene(np.random.default_rng(i), COUNTS) for i in range(40)]
    here, helped = (encode(vae, scenes, torch.device("cpu"), workers) for workers in (0, 2))
    assert torch.equal(here.coverage, helped.coverage)
    assert torch.equal(here.latents, helped.latents)
    batches = Batches(here, tokenizer, 4, 0.1, (1, 2))
    first = [next(load_batches(batches, workers)) for workers in (0, 1)]
    for a, b in zip(first[0].tensors(), first[1].tensors(), strict=True):
        assert torch.equal(a, b)


def test_a_step_off_the_gpu_is_just_called() -> None:
    step = Replayed(lambda a, b: (a + b,), torch.device("cpu"))
    for i in range(5):
        assert step(torch.tensor(i), torch.tensor(2 * i))[0] == 3 * i


def test_normalised_latents_keep_the_pictures() -> None:
    torch.manual_seed(0)
    vae = build_vae().eval()
    pictures = np.stack([sample_picture(np.random.default_rng(i)) for i in range(4)])
    images = to_tensor(pictures)
    assert np.array_equal(to_pixels(images), pictures)
    with torch.no_grad():
        before = to_pixels(vae.decode(vae.encode(images).latent_dist.mode()).sample)
        normalise_latents(vae, pictures, torch.device("cpu"))
        posterior = vae.encode(images).latent_dist
        after = to_pixels(vae.decode(posterior.mode()).sample)
    latents = posterior.mode() * 0.18215
    assert torch.allclose(latents.std(dim=(0, 2, 3)), torch.ones(4), atol=0.05)
    assert psnr(before, after) > 45


def test_check_takes_the_best_merge_and_counts_all_pairs() -> None:
    def outcome(method: str, weight: float, pair: tuple[str, str], right: int) -> Outcome:
        flags = tuple(i < right for i in range(4))
        return Outcome(Task(pair, method, weight, (1, 2, 3, 4)), flags, (True,) * 4, ("",) * 4, 2.0)

    made = [outcome("merge", w, pair, right) for w, right in ((0.6, 1), (1.0, 0)) for pair in PAIRS]
    made += [outcome("clora", 1.0, pair, 3) for pair in PAIRS]
    table = shares(made)
    assert table["merge 0.6"]["all"] == 0.25
    assert table["clora 1"]["all"] == 0.75
    assert table["clora 1"]["seconds a picture"] == 0.5
    assert passes(table)[0]
    worse = [o for o in made if o.task.method == "clora"] + [outcome("merge", 0.6, pair, 2) for pair in PAIRS]
    good, text = passes(shares(worse))
    assert not good
    assert "50%" in text
    assert prompt(("tuxcat", "browndog"), 0.8, "-b") == (
        "a vako cat <lora:tuxcat-b:0.8> and a pleko dog <lora:browndog-b:0.8> in the grass"
    )


def test_training_again_begins_with_the_finished_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "measure", lambda *_: 26.0)
    train.begin_with(FIRST, WEIGHTS, tmp_path, torch.device("cpu"))
    start = torch.load(tmp_path / "start.pt")
    vae = torch.load(tmp_path / "vae-final.pt")
    parts = load_pipeline_parts()
    for state, net in ((start["unet"], parts.unet), (start["text"], parts.text_encoder), (vae["vae"], parts.vae)):
        assert all(torch.equal(state[name], value) for name, value in net.state_dict().items())
    assert vae["psnr"] == 26.0
