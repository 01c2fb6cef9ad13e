"""Who is in a batch: rows, their texts and LoRAs, whose maps belong together, and who draws which pixel."""
