"""Merging a set of LoRAs into one file; no host."""
