"""A slow, obvious, independent re-implementation of CLoRA: the judge that the real implementation is compared with.

Nothing in this package may import the extension. It is written from the description of the method alone, with loops and
plain formulas, and prefers being evidently right over being fast. `maths` holds the formulas, `step` one denoising step
on given branches, `pipeline` the whole procedure on an SD1 checkpoint, `make_cases` writes reference outputs.
"""
