"""What somebody says about a LoRA: as objects, as the panel's text, in a tag."""
