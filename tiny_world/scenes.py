"""Encoded scenes and the batches that training draws from them: latents, captions and the things of every noun."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from tqdm import tqdm
from transformers import CLIPTokenizer

from .caption import PLACES, Caption, caption
from .model import SCALE
from .optim import fan_out
from .render import render
from .scene import Scene, sample_scene
from .vae_train import to_tensor

CELL = 8
"""Pixels along a side of a latent cell."""
THINGS = 4
MAX_NOUNS = 4
COUNTS = (0.14, 0.22, 0.26, 0.38)
"""Shares of scenes with one to four things; many things are hardest and are seen most."""
CHUNK = 32
Writer = Callable[..., Caption]
"""`caption`, or what else writes one: of a scene, a generator and whether to write `triggers`."""


@dataclass
class Pool:
    """Encoded scenes: latents float16 [n, 4, h, w] (scaled), coverage uint8 [n, THINGS, h, w] (0..255), scenes."""

    latents: Tensor
    coverage: Tensor
    scenes: list[Scene]

    def __post_init__(self) -> None:
        counts = np.array([len(scene.things) for scene in self.scenes])
        self.by_count = [np.flatnonzero(counts == wanted) for wanted in range(1, THINGS + 1)]

    def rows(self, rng: np.random.Generator, number: int, shares: Sequence[float] = COUNTS) -> list[int]:
        """Random rows whose scenes have one to four things with these shares, as far as the pool has such."""
        rows = []
        for place in rng.choice(THINGS, size=number, p=shares):
            candidates = self.by_count[place]
            rows.append(int(rng.choice(candidates)) if len(candidates) else int(rng.integers(len(self.scenes))))
        return rows


def cover(silhouettes: np.ndarray) -> Tensor:
    """bool [n, side, side] to the share of each cell of the latent's grid covered, uint8 [THINGS, h, w]."""
    n, side, _ = silhouettes.shape
    cells = side // CELL
    share = silhouettes.reshape(n, cells, CELL, cells, CELL).mean(axis=(2, 4))
    out = torch.zeros(THINGS, cells, cells, dtype=torch.uint8)
    out[:n] = torch.from_numpy((share * 255).round().astype(np.uint8))
    return out


def draw(scenes: Sequence[Scene], size: int = 128) -> tuple[np.ndarray, Tensor]:
    """Pixels uint8 [n, size, size, 3] and coverage uint8 [n, THINGS, h, w] of scenes."""
    renderings = [render(scene, size) for scene in scenes]
    return np.stack([r.pixels for r in renderings]), torch.stack([cover(r.silhouettes) for r in renderings])


@torch.no_grad()
def encode(
    vae: AutoencoderKL,
    scenes: Sequence[Scene],
    device: torch.device,
    workers: int = 0,
    title: str = "",
    size: int = 128,
) -> Pool:
    """Renders scenes at `size` pixels (in `workers` processes) and encodes them; a title shows a progress bar."""
    chunks = [scenes[start : start + CHUNK] for start in range(0, len(scenes), CHUNK)]
    latents, coverage = [], []
    drawn = fan_out(partial(draw, size=size), chunks, workers)
    for pixels, covered in tqdm(drawn, total=len(chunks), desc=title, disable=not title):
        with torch.autocast(device.type, torch.bfloat16):
            mode = vae.encode(to_tensor(pixels).to(device)).latent_dist.mode()
        latents.append((mode.float() * SCALE).half().cpu())
        coverage.append(covered)
    return Pool(torch.cat(latents), torch.cat(coverage), list(scenes))


def sample_pool(
    vae: AutoencoderKL,
    count: int,
    rng: np.random.Generator,
    device: torch.device,
    workers: int,
    title: str,
    size: int = 128,
) -> Pool:
    """A pool of `count` random scenes without personal things."""
    return encode(vae, [sample_scene(rng, COUNTS) for _ in range(count)], device, workers, title, size)


def token_owners(
    written: Caption, offsets: Sequence[tuple[int, int]], length: int = 77, place: tuple[int, int] | None = None
) -> np.ndarray:
    """Which noun each token belongs to: int64 [length], -1 for none, else the noun's place in written.nouns.

    A noun owns its own tokens and those of the nonsense word right before it. offsets: characters of each token.
    place: characters of the word for the background, whose number is MAX_NOUNS.
    """
    owners = np.full(length, -1, dtype=np.int64)
    spans: list[tuple[int, int, int]] = []
    for index, (start, end, _) in enumerate(written.nouns[:MAX_NOUNS]):
        spans.append((start, end, index))
        spans += [(s, e, index) for s, e, _ in written.slots if e + 1 == start]
    if place is not None:
        spans.append((*place, MAX_NOUNS))
    for token, (start, end) in enumerate(offsets[:length]):
        if end > start:
            for first, last, index in spans:
                if start >= first and end <= last:
                    owners[token] = index
    return owners


def place_word(written: Caption, scene: Scene) -> tuple[int, int] | None:
    """Where the word for the background stands in a caption, or None if the caption does not name it."""
    phrase = PLACES[scene.background]
    start = written.text.find(phrase)
    end = start + len(phrase)
    return None if start < 0 else (end - len(phrase.split()[-1]), end)


@dataclass(frozen=True)
class Batch:
    """Inputs of one step: latents [b, 4, h, w], ids and owners int64 [b, 77], regions [b, nouns, h, w]."""

    latents: Tensor
    ids: Tensor
    owners: Tensor
    regions: Tensor

    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The four tensors in order."""
        return self.latents, self.ids, self.owners, self.regions

    def shrunk(self, cells: int) -> Batch:
        """The batch at `cells` latent cells a side: pictures seen from further, a little soft."""
        size = (cells, cells)
        latents = functional.interpolate(self.latents, size, mode="bilinear", antialias=True)
        return replace(self, latents=latents, regions=functional.adaptive_avg_pool2d(self.regions, size))


def make_batch(
    pool: Pool,
    rows: Sequence[int],
    tokenizer: CLIPTokenizer,
    rng: np.random.Generator,
    dropout: float,
    triggers: bool = False,
    write: Writer = caption,
    places: bool = False,
) -> Batch:
    """Fresh captions for these rows of the pool, as `write` writes them; with probability dropout the caption is empty
    (and unsupervised). places: the word for the background is one more noun, and what no thing covers its region.
    """
    captions = [write(pool.scenes[row], rng, triggers=triggers) for row in rows]
    dropped = rng.random(len(rows)) < dropout
    texts = ["" if gone else written.text for gone, written in zip(dropped, captions, strict=True)]
    encoded = tokenizer(texts, padding="max_length", truncation=True, max_length=77, return_offsets_mapping=True)
    owners = np.full((len(rows), 77), -1, dtype=np.int64)
    coverage = pool.coverage[list(rows)].float() / 255
    regions = torch.zeros(len(rows), MAX_NOUNS + places, *coverage.shape[2:])
    for i, written in enumerate(captions):
        if dropped[i]:
            continue
        place = place_word(written, pool.scenes[rows[i]]) if places else None
        owners[i] = token_owners(written, encoded["offset_mapping"][i], place=place)
        if place is not None:
            regions[i, MAX_NOUNS] = 1 - coverage[i].sum(dim=0).clamp(max=1)
        for noun, (_, _, things) in enumerate(written.nouns[:MAX_NOUNS]):
            regions[i, noun] = coverage[i, list(things)].sum(dim=0).clamp(max=1)
    return Batch(
        pool.latents[list(rows)].float(), torch.tensor(encoded["input_ids"]), torch.from_numpy(owners), regions
    )


class Batches(IterableDataset[Batch]):
    """Endless batches from a pool, as `make_batch` makes them; every worker draws its own."""

    def __init__(
        self,
        pool: Pool,
        tokenizer: CLIPTokenizer,
        size: int,
        dropout: float,
        seed: Sequence[int],
        write: Writer = caption,
        places: bool = False,
        shares: Sequence[float] = COUNTS,
    ) -> None:
        self.pool, self.tokenizer, self.size, self.dropout, self.seed = pool, tokenizer, size, dropout, list(seed)
        self.write, self.places, self.shares = write, places, shares

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        rng = np.random.default_rng([*self.seed, worker.id if worker else 0])
        while True:
            rows = self.pool.rows(rng, self.size, self.shares)
            yield make_batch(self.pool, rows, self.tokenizer, rng, self.dropout, False, self.write, self.places)


def load_batches(batches: Batches, workers: int) -> Iterator[Batch]:
    """Iterates over batches made by `workers` processes, or here if there are none."""
    return iter(DataLoader(batches, batch_size=None, num_workers=workers))
