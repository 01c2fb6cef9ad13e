"""Cross-attention maps, observed without touching how attention is computed."""
