"""Merging LoRAs on the model that WebUI has loaded."""
