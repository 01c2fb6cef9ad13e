"""A user's own folder: DINO, CLIP and a detector as transformers saves them, and a run on somebody else's files."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPProcessor,
    CLIPTokenizerFast,
    OwlViTConfig,
    OwlViTForObjectDetection,
    OwlViTProcessor,
    ViTConfig,
    ViTModel,
)

from bench.quality import extractors, folder
from bench.quality.__main__ import main
from clora_ext.errors import CLoRAError
from tiny_world.model import CHECKPOINT, CONFIG, TOKENIZER, WEIGHTS

SMALL = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
EYES = {"image_size": 32, "patch_size": 8}
PICTURES = np.random.default_rng(0).integers(0, 255, (3, 64, 64, 3), dtype=np.uint8)


def _images(kind: str):
    """An image processor by name: transformers picks the backend that is there."""
    import transformers

    made = getattr(transformers, f"{kind}ImageProcessorPil", None) or getattr(transformers, f"{kind}ImageProcessor")
    size = {"shortest_edge": 32} if kind == "CLIP" else {"height": 32, "width": 32}
    return made(size=size, crop_size={"height": 32, "width": 32})


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> Path:
    """The tiny world as a user's folder, with random DINO, CLIP and detector."""
    torch.manual_seed(0)
    there = tmp_path_factory.mktemp("own")
    words = CLIPTokenizerFast.from_pretrained(TOKENIZER)
    text = SMALL | {"vocab_size": len(words), "max_position_embeddings": 77}
    text |= {"eos_token_id": words.eos_token_id, "bos_token_id": words.bos_token_id, "pad_token_id": 0}
    ViTModel(ViTConfig(**SMALL, **EYES)).save_pretrained(there / "dino")
    _images("ViT").save_pretrained(there / "dino")
    CLIPModel(CLIPConfig(text_config=text, vision_config=SMALL | EYES, projection_dim=16)).save_pretrained(
        there / "clip"
    )
    CLIPProcessor(image_processor=_images("CLIP"), tokenizer=words).save_pretrained(there / "clip")
    OwlViTForObjectDetection(
        OwlViTConfig(text_config=text, vision_config=SMALL | EYES, projection_dim=32)
    ).save_pretrained(there / "detector")
    OwlViTProcessor(image_processor=_images("OwlViT"), tokenizer=words).save_pretrained(there / "detector")
    (there / CHECKPOINT.name).symlink_to(CHECKPOINT)
    (there / CONFIG.name).symlink_to(CONFIG)
    (there / "tokenizer").symlink_to(TOKENIZER)
    (there / "lora").symlink_to(WEIGHTS / "lora")
    prompts = ["a vako cat <lora:tuxcat:1> and a pleko dog <lora:browndog:1>", "a gluva ball <lora:starball:1>"]
    (there / "prompts.json").write_text(json.dumps({"sampling": {"steps": 2}, "prompts": prompts}))
    return there


def test_dino_and_clip_are_those_of_transformers(own: Path):
    vectors = extractors.dino(own / "dino", "cpu")(PICTURES)
    assert vectors.shape == (3, 32)
    assert torch.allclose(vectors.norm(dim=1), torch.ones(3), atol=1e-5)
    look, read = extractors.clip(own / "clip", "cpu")
    model, process = CLIPModel.from_pretrained(own / "clip"), CLIPProcessor.from_pretrained(own / "clip")
    inputs = process(text=["a vako cat"], images=[PICTURES[1]], return_tensors="pt")
    expected = model(**inputs)
    assert torch.allclose(look(PICTURES)[1], expected.image_embeds[0], atol=1e-5)
    assert torch.allclose(read("a vako cat"), expected.text_embeds[0], atol=1e-5)


def test_a_detector_gives_a_box_per_word_and_two_for_two(own: Path):
    detect = extractors.detector(own / "detector", "cpu", threshold=0.0, overlap=0.9)
    boxes = detect(PICTURES[0], ["cat", "dog", "cat"])
    assert len(boxes) == 3
    assert boxes[0] is not None
    assert boxes[0] != boxes[2]
    assert extractors.detector(own / "detector", "cpu", threshold=1.0)(PICTURES[0], ["cat"]) == [None]


def test_the_same_command_judges_it(own: Path, tmp_path):
    given = ["--folder", str(own), "--rows", "single,merge", "--seeds", "1", "--mode", "quick", "--workers", "1"]
    assert main([*given, "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "quality.json").read_text())
    cell = found["methods"]["merge"]["all"]
    assert {"dino_min", "dino_avg", "dino_max", "clip_min", "clip_t", "unet_rows"} <= set(cell)
    assert cell["dino_min"] <= cell["dino_avg"] <= cell["dino_max"]
    assert cell["n"] == 2
    assert "all_present" not in cell
    assert {"dino", "clip", "detector"} <= set(found["hashes"])


def test_what_is_missing_is_named(own: Path, tmp_path):
    with pytest.raises(CLoRAError, match="exactly one"):
        folder.from_folder(tmp_path)
    (tmp_path / CHECKPOINT.name).symlink_to(CHECKPOINT)
    with pytest.raises(CLoRAError, match=r"has no tiny-world\.yaml"):
        folder.from_folder(tmp_path)
