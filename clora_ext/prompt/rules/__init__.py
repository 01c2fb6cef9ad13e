"""Which words of a prompt each LoRA draws, and the sentence where that can not be told."""
