"""The mathematics: tensors and numbers in, tensors and numbers out; no model, no host, no settings object."""
