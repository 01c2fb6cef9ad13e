# gradio 3.41.2: gradio/__init__.py

from gradio.blocks import Blocks as Blocks
from gradio.components import HTML as HTML
from gradio.components import Button as Button
from gradio.components import Checkbox as Checkbox
from gradio.components import Dataframe as Dataframe
from gradio.components import Dropdown as Dropdown
from gradio.components import Number as Number
from gradio.components import Radio as Radio
from gradio.components import Slider as Slider
from gradio.components import Textbox as Textbox
from gradio.layouts import Accordion as Accordion
from gradio.layouts import Column as Column
from gradio.layouts import Group as Group
from gradio.layouts import Row as Row

def update(**kwargs: object) -> dict[str, object]: ...
