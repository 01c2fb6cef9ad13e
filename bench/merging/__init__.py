"""Is each LoRA still itself in a merged file? Merged, drawn, judged."""
