# The tools' transformers: transformers/models/__init__.py
