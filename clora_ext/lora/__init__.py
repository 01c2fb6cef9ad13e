"""LoRA files and their deltas on chosen rows of a batch; no host."""
