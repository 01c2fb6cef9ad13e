"""The embedded host: a plain text-to-image loop on diffusers' modules, with WebUI's numbers."""
