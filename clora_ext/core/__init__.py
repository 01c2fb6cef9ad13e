"""The mathematics: tensors in, tensors out; no model, no host, no settings object."""
