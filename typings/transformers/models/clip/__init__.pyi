# The tools' transformers: transformers/models/clip/__init__.py
