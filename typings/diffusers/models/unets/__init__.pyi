# The tools' diffusers: diffusers/models/unets/__init__.py
