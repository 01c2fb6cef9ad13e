# WebUI 1.10.1: modules/sd_samplers.py

from modules.sd_models_types import WebuiSdModel
from modules.sd_samplers_common import Sampler, SamplerData

all_samplers: list[SamplerData]
all_samplers_map: dict[str, SamplerData]

def find_sampler_config(name: str | None) -> SamplerData | None: ...
def create_sampler(name: str, model: WebuiSdModel) -> Sampler: ...
