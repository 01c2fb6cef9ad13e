# The tools' diffusers: diffusers/loaders/__init__.py
