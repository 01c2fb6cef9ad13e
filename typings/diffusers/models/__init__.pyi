# The tools' diffusers: diffusers/models/__init__.py
