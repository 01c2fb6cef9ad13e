# The tools' diffusers: diffusers/models/autoencoders/__init__.py
