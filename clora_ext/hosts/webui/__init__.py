"""The WebUI host: AUTOMATIC1111's Stable Diffusion WebUI 1.10.1."""
