"""Texts with a label that is a fact: paragraphs of docstrings, and the package that each was written for.

Nothing is downloaded: the packages are installed with Skipway. docstrings.py and trainer.py learn from these.
"""

import importlib
import inspect

PACKAGES = {"numpy": ("numpy", "numpy.linalg", "numpy.random"), "torch": ("torch", "torch.linalg", "torch.nn")}
_LEAST_WORDS = 12  # shorter paragraphs are headings and signatures


def paragraphs(most: int) -> tuple[list[str], list[str]]:
    """Texts and labels: so many different paragraphs of each package at most, in the order of its names."""
    texts, labels = [], []
    for package, modules in PACKAGES.items():
        own: dict[str, None] = {}  # an ordered set: what is written twice counts once
        for module in map(importlib.import_module, modules):
            for name in sorted(vars(module)):
                thing = getattr(module, name)
                if not name.startswith("_") and not inspect.ismodule(thing):
                    blocks = (inspect.getdoc(thing) or "").split("\n\n")
                    own |= {" ".join(b.split()): None for b in blocks if len(b.split()) >= _LEAST_WORDS}
        texts += list(own)[:most]
        labels += [package] * len(list(own)[:most])
    return texts, labels
