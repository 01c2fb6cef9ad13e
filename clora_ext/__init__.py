"""CLoRA for AUTOMATIC1111's WebUI: several LoRAs in one picture, each on its own subject."""

__version__ = "0.1.0"
