# The tools' diffusers: diffusers/schedulers/__init__.py
