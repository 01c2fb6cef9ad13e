"""Finished pictures: who drew what as a sheet and by subject, and what one subject is drawn again with."""

import base64
import io

import pytest
import torch
from PIL import Image, ImageFont

from clora_ext.core.window import Window
from clora_ext.engine.report import JobReport
from clora_ext.errors import SettingsError
from clora_ext.hosts.webui.page import finished
from clora_ext.hosts.webui.page.finished import Finished, FinishedPictures
from clora_ext.hosts.webui.page.overlays import STYLE, Named, colour_of, outline, sheet, with_legend
from clora_ext.hosts.webui.page.pass_record import PassRecord, style_titles, subject_titles
from clora_ext.prompt import Binding, LoraFacts, bind

FACTS = {name: LoraFacts(name) for name in ("tuxcat", "greycat", "browndog", "lineart", "comic")}
PROMPT = (
    "a cat <lora:tuxcat:0.8:bind=cat:occurrence=1>, a cat <lora:greycat:1:bind=cat:occurrence=2> and a dog "
    "<lora:browndog:1>, in ink <lora:lineart:0.5:role=style> <lora:comic:1:on=browndog>"
)
BINDINGS = (Binding("browndog", subject="dog"), Binding("tuxcat", trigger="vako", mask="aGk="))


def picture(window: Window | None = None, prompt: str = PROMPT) -> Finished:
    """Three subjects: the left quarter, the next one, and nothing; 4x4 cells."""
    bound = bind(prompt, FACTS)
    regions = torch.zeros(4, 4, 4)
    regions[1, :, 0] = regions[2, :, 1] = 1.0
    regions[0] = 1.0 - regions[1:].sum(dim=0)
    report = JobReport({}, (), region_masks=[regions], maps=[torch.rand(3, 4, 4)])
    names = {name: name for name in FACTS}
    shown = PassRecord(0, False, report, (prompt,), bound, names, window=window)
    return Finished.of(shown, 0, "blurry", 12, BINDINGS, {"profile": "balanced"})


def decoded(url: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))


def font(size: int) -> ImageFont.FreeTypeFont:
    try:
        return ImageFont.load_default(size)
    except TypeError:
        pytest.skip("Pillow before 10.1 has no font of its own in every size.")


def sheet_of(made: Finished, width: int, height: int) -> Image.Image:
    image = Image.new("RGB", (width, height), "#88aa66")
    return with_legend(sheet(image, made.regions, made.maps, made.titles, font), made.legend, font)


def test_two_cats_are_numbered_and_styles_are_listed():
    made = picture()
    assert subject_titles(made.bound) == ["cat 1", "cat 2", "dog"]
    assert style_titles(made.bound) == ["lineart: everywhere", "comic: on dog"]
    assert made.legend == [
        Named("tuxcat: cat 1", colour_of(0)),
        Named("greycat: cat 2", colour_of(1)),
        Named("browndog: dog", colour_of(2)),
        Named("lineart: everywhere", STYLE),
        Named("comic: on dog", STYLE),
    ]


@pytest.mark.parametrize(("width", "height"), [(64, 64), (512, 512), (1024, 1024), (512, 768), (1024, 512)])
def test_a_sheet_has_captions_and_a_legend_that_can_be_read_where_it_is_shown(width: int, height: int):
    """The gallery shows it 640 pixels wide: there a letter is at least 9 high, and nothing is cut off."""
    sizes: list[int] = []
    texts: list[str] = []

    class Seen(ImageFont.FreeTypeFont):
        def getlength(self, text: str, *args: object, **kwargs: object) -> float:
            texts.append(text)
            return super().getlength(text, *args, **kwargs)

    def watched(size: int) -> ImageFont.FreeTypeFont:
        sizes.append(size)
        found = font(size)
        found.__class__ = Seen
        return found

    made = picture()
    image = Image.new("RGB", (width, height), "#88aa66")
    whole = with_legend(sheet(image, made.regions, made.maps, made.titles, watched), made.legend, watched)
    pane = max(width, 256)
    assert whole.width == 4 * pane
    assert whole.height > pane * height // width + 6 * whole.width // 46
    assert min(sizes) * 640 / whole.width >= 9
    assert {"Who draws what", "Attention of cat 2", "lineart: everywhere"} <= set(texts)
    assert not any(text.endswith("…") for text in texts)


def test_the_colours_of_a_sheet_are_where_the_masks_are():
    whole = sheet_of(picture(), 512, 512)
    top = whole.width // 46 * 3 // 2
    left, second, free = (whole.getpixel((x, top + 256)) for x in (64, 192, 448))
    assert left[0] > left[2], "orange"
    assert second[2] > second[0], "blue"
    assert free[0] == free[1] == free[2], "grey"


def test_a_long_name_is_cut_off():
    texts: list[str] = []

    class Narrow:
        def __init__(self, size: int) -> None:
            self.size = size

        def getlength(self, text: str) -> float:
            texts.append(text)
            return len(text) * self.size

    with pytest.raises(AttributeError):  # Pillow itself would draw with it
        with_legend(Image.new("RGB", (512, 10)), [Named("x" * 200, "red")], Narrow)
    assert texts[-1].endswith("…")
    assert len(texts[-1]) < 80


def test_a_part_of_a_picture_is_put_where_it_was_drawn():
    """ "Only masked": masks of the part that was drawn are masks of the whole picture, elsewhere its background."""
    made = picture(Window(0.5, 0.25, 1.0, 0.75))
    assert made.regions.shape == (4, 8, 8)
    assert torch.equal(made.regions.sum(dim=0), torch.ones(8, 8))
    assert torch.equal(made.regions[1].nonzero(), torch.tensor([[y, 2] for y in range(4, 8)]))
    assert made.maps is not None
    assert made.maps.shape == (3, 8, 8)


def test_one_subject_alone_keeps_all_words_its_lora_and_what_is_on_it():
    made = picture()
    assert made.prompt_of(0) == (
        "a cat <lora:tuxcat:0.8:bind=cat:occurrence=1>, a cat and a dog, in ink <lora:lineart:0.5:role=style>"
    )
    assert made.prompt_of(2) == (
        "a cat, a cat and a dog <lora:browndog:1>, in ink <lora:lineart:0.5:role=style> <lora:comic:1:on=browndog>"
    )
    assert [made.bindings_of(subject) for subject in range(3)] == ["tuxcat: trigger=vako", "", "browndog: dog"]
    for subject, lora in enumerate(("tuxcat", "greycat", "browndog")):
        left = bind(made.prompt_of(subject), FACTS)
        assert [each.lora for each in left.subjects] == [lora]


def test_what_a_subject_is_drawn_again_with():
    kept = FinishedPictures()
    kept.keep("infotext", picture())
    told = kept.inpaint({"inpaint": "infotext", "subject": 1, "size": [256, 128]})
    mask = decoded(told["mask"])
    assert (mask.size, mask.mode) == ((256, 128), "L")
    assert sorted(level for _, level in mask.getcolors() or ()) == [0, 255]
    box = mask.getbbox()
    assert box is not None
    assert (box[1], box[3]) == (0, 128)
    assert abs(box[0] - 64) <= 8
    assert abs(box[2] - 128) <= 8
    assert (told["title"], told["negative"], told["steps"]) == ("greycat: cat 2", "blurry", 12)
    assert told["fields"] == {"profile": "balanced"}
    with pytest.raises(SettingsError, match="has no part of this picture"):
        kept.inpaint({"inpaint": "infotext", "subject": 2, "size": [64, 64]})
    with pytest.raises(SettingsError, match="not known any more"):
        kept.inpaint({"inpaint": "other", "subject": 0, "size": [64, 64]})


def test_a_picture_tells_its_subjects_by_the_first_infotext_that_is_known(monkeypatch: pytest.MonkeyPatch):
    kept = FinishedPictures()
    assert kept.tell({"finished": ["one"]})["subjects"] == []
    kept.keep("one", picture())
    told = kept.tell({"finished": ["other", "one"]})
    assert told["of"] == "one"
    assert [each["title"] for each in told["subjects"]] == ["tuxcat: cat 1", "greycat: cat 2", "browndog: dog"]
    assert decoded(told["subjects"][0]["mask"]).getpixel((0, 0)) == 255
    assert decoded(told["subjects"][0]["layer"]).getpixel((0, 0))[3] > 0
    assert decoded(told["subjects"][0]["layer"]).getpixel((3, 0))[3] == 0
    monkeypatch.setattr(finished, "MOST_PICTURES", 1)
    kept.keep("two", picture())
    assert kept.tell({"finished": ["one"]})["subjects"] == []


def test_each_subject_of_one_lora_has_a_mask_to_give():
    prompt = "a cat, a cat, a dog <lora:tuxcat:1:bind=cat:occurrence=1> <lora:tuxcat:1:bind=cat:occurrence=2>"
    kept = FinishedPictures()
    kept.keep("one", picture(prompt=f"{prompt} <lora:browndog:1>"))
    subjects = kept.tell({"finished": ["one"]})["subjects"]
    assert [each["mask"] is None for each in subjects] == [False, False, True], "the dog has no part"
    assert [each["key"] for each in subjects] == ["tuxcat: cat #1", "tuxcat: cat #2", "browndog"]
    kept.keep("two", picture())
    subjects = kept.tell({"finished": ["two"]})["subjects"]
    assert [each["mask"] is None for each in subjects] == [False, False, True]


def test_an_outline_is_smooth():
    share = torch.zeros(8, 8)
    share[2:6, 2:6] = 1.0
    mask = outline(share, (512, 512))
    corner = mask.getpixel((130, 130)), mask.getpixel((256, 256)), mask.getpixel((20, 20))
    assert corner == (0, 255, 0), "a corner is rounded"


def test_a_finished_picture_holds_no_tensor_and_tells_what_the_pass_told():
    made = picture()
    assert not [value for value in vars(made).values() if isinstance(value, torch.Tensor)]
    assert made.region_array.base is None
    assert made.regions.shape[0] == 1 + len(made.loras)
