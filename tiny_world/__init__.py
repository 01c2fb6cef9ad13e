"""A tiny world: synthetic cartoon scenes, the text-to-image model trained on them, its LoRAs and its judge."""
