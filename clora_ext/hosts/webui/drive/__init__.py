"""Driving the host's denoiser: its LoRAs, texts and samplers, and the port that the engine asks."""
