"""Code that a user defined, as a digest: a gate class that is edited is another gate, whatever its name.

It is taken from what runs, and no source file is read: the compiled code of every method, the base classes, and all
that they reach: helper functions, constants, default values, closures, modules, tensors. So a class is known that was
typed at a prompt or in a notebook, or that was changed after its file was imported. Comments, layout and annotations do
not count. Compiled code is that of one minor version of Python; another one gives another digest.

What is found in an installed package under its own name counts by that name and the package's version; what is
Skipway's, by name and `version`; torch and Python's library by name; a compiled extension of the user's own by its
file. All else is taken to pieces, an object as pickle does it. What has no pieces (an open file, a generator) is
refused.

Of a user's module, those names count that occur anywhere in the code: as attributes, or in texts, as
``getattr(module, "K")`` has them. Modules that are imported inside functions are imported for it, as a call would.

Names that code puts together while it runs: a function that calls `globals`, `eval` or `exec` counts with all of its
module; one that calls `getattr` or `vars`, with all of the modules that it names itself; `importlib.import_module` and
`__import__` are refused. What code reads from files, the environment, or `sys.modules` while it runs does not count.
"""
