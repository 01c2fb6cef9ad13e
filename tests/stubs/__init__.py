"""Compares stubs with the modules that they stand for, in a Python that has those modules.

A stub must not lie: every name is in the module; a function takes every parameter that the stub names, at that place
or by that name, and needs no other; base classes are base classes; an attribute is on the class or annotated there, or
its source sets it on ``self``, or a value of that class has it, or the file that a comment beside it names knows it.
The types of values that modules hold are compared too. Types of parameters and results are not seen.
"""
