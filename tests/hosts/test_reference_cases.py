"""The embedded host draws what the obvious implementation of the authors' procedure draws."""

from pathlib import Path

import pytest
import torch

from clora_ext.hosts.diffusers.checkpoint import Model, load
from clora_ext.hosts.diffusers.library import Library
from clora_ext.hosts.diffusers.pipeline import Picture, generate
from clora_ext.settings.request import read_request
from tests.golden.authors.rebuild import AS_ORIGINAL, OtherNumbersError, parity_folder
from tests.hosts import cases
from tests.obvious.loras import write_loras


@pytest.fixture(scope="module")
def folder() -> Path:
    """The folder of the reference model, or a skip where its weights can not be drawn again."""
    try:
        return parity_folder()
    except OtherNumbersError as error:
        if AS_ORIGINAL:
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    torch.set_num_threads(2)
    checkpoint = folder / "checkpoint" / "tiny-sd1.safetensors"
    yield load(checkpoint, checkpoint.with_suffix(".yaml"), folder / "tiny-clip")
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def library(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Library:
    more = tmp_path_factory.mktemp("loras")
    write_loras(more, folder / "lora" / "tinyA.safetensors")
    return Library(folder / "lora", more)


SMALL = [name for name in cases.names() if max(cases.read(name).width, cases.read(name).height) < 512]


@pytest.mark.parametrize("name", SMALL)
def test_the_picture_matches(model: Model, library: Library, name: str):
    case = cases.read(name)
    request = read_request(case.fields)
    picture = Picture(
        case.prompt, case.negative, tuple(case.pictures), case.steps, case.cfg_scale, case.width, case.height
    )
    result = generate(model, library, picture, request.settings, request.bindings)
    for expected, image in zip(case.pictures.values(), result.images, strict=True):
        largest, mean = cases.difference(expected, image)
        assert largest <= 2, (largest, mean)
        assert mean < 0.002, (largest, mean)
