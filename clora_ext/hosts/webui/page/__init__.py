"""The page: panel, routes, plot axes, presets, forecast and pictures of masks; what it asks of the host stands in
``source``.
"""
