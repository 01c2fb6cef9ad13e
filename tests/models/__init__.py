"""Tiny random checkpoints of every kind of model that the extension is for, made from seeds within seconds.

They draw noise: they serve for exact comparisons, and for what breaks. WebUI 1.10.1 loads them without a download.
`kinds.build_all(folder)` makes them all.
"""
