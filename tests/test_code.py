"""The digest of a user's code: which edits of it are another training. Real files, imported afresh for each edit."""

# ruff: noqa: E501 -- an edit is a row of the table

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from skipway.runs.code.reading import UnreadableError, digest


class Edit(NamedTuple):
    """A change of one place in a source; `subject` in mine.py is what is read."""

    name: str
    mine: str
    old: str
    new: str
    helping: str = ""
    counts: bool = True

    def files(self, edited: bool) -> dict[str, str]:
        sources = {"mine.py": self.mine, "helping.py": self.helping}
        found = [name for name, text in sources.items() if self.old in text]
        assert len(found) == 1, f"{self.name}: the place must be in one file; it is in {found}"
        assert sources[found[0]].count(self.old) == 1, f"{self.name}: the place must be there once"
        if edited:
            sources[found[0]] = sources[found[0]].replace(self.old, self.new)
        return sources


BODY = "def subject(z):\n    return z + 1\n"
CALLS = "def subject(z):\n    return helper(z)\n"
HELPER = "def helper(z):\n    return z * 2\n"
PARTIAL = "import functools\ndef helper(z, k, *, m=0):\n    return z * 2 + k + m\n"
CLASS = "class subject:\n"
MODULES = "import torch\nfrom torch import nn\ntorch.manual_seed(0)\n"
SCALE = "def scale(z):\n    return z * K\nK = 2\ndef other(z):\n    return z\n"
DECORATED = (
    "import functools\ndef twice(f):\n    @functools.wraps(f)\n    def inner(*a):\n        return 2 * f(*a)\n"
    "    return inner\n@twice\ndef subject(z):\n    return z + 1\n"
)

EDITS = [
    # -- functions
    Edit("the function itself", BODY, "z + 1", "z + 2"),
    Edit("an operation", BODY, "z + 1", "z - 1"),
    Edit("the name of an argument", BODY, "subject(z):\n    return z", "subject(x):\n    return x"),
    Edit("the kind of an argument", "def subject(a, b):\n    return a\n", "(a, b", "(a, *, b"),
    Edit("an argument by place alone", "def subject(a, b):\n    return a\n", "a, b", "a, /, b"),
    Edit("the name of an argument that is not used", "def subject(a, b):\n    return a\n", "a, b", "a, c"),
    Edit("a star", "def subject(*a):\n    return 1\n", "*a", "**a"),
    Edit("a default", "def subject(z, k=1):\n    return z * k\n", "k=1", "k=2"),
    Edit("a keyword default", "def subject(z, *, k=1):\n    return z * k\n", "k=1", "k=2"),
    Edit("a default that is a function", HELPER + "def subject(z, f=helper):\n    return f(z)\n", "* 2", "* 3"),
    Edit("a branch", "def subject(z):\n    if z > 0:\n        return 1\n    return 2\n", "z > 0", "z < 0"),
    Edit("what is caught", "def subject(z):\n    try:\n        return z()\n    except KeyError:\n        return 0\n", "KeyE", "E"),
    Edit("an inner function", "def subject(z):\n    def inner():\n        return 1\n    return inner\n", "return 1", "return 2"),
    Edit("a closure", "def make(k):\n    return lambda z: z * k\nsubject = make(2)\n", "make(2)", "make(3)"),
    Edit("a function in a closure", HELPER + "def make(f):\n    return lambda z: f(z)\nsubject = make(helper)\n", "* 2", "* 3"),
    Edit("an attribute of a function", BODY + "subject.k = 1\n", "k = 1", "k = 2"),
    Edit("text beyond a thousand signs", f"def subject(z):\n    return '{'a' * 2000}' + 'b'\n", "aaa'", "aac'"),
    Edit("what a try holds", "def subject(a, b):\n    try:\n        a()\n        b()\n    except KeyError:\n        return 0\n",
         "    try:\n        a()\n", "    a()\n    try:\n"),
    # -- what a function reads
    Edit("a helper", HELPER + CALLS, "z * 2", "z * 3"),
    Edit("a helper's helper", "def inner(z):\n    return z * 2\ndef helper(z):\n    return inner(z)\n" + CALLS, "* 2", "* 3"),
    Edit("a constant", "K = 2\ndef subject(z):\n    return z * K\n", "K = 2", "K = 3"),
    Edit("the type of a constant", "K = 1\ndef subject(z):\n    return z * K\n", "K = 1", "K = True"),
    Edit("a list", "K = [1, [2]]\ndef subject(z):\n    return K\n", "[2]", "[3]"),
    Edit("a list for a tuple", "K = (1, 2)\ndef subject(z):\n    return K\n", "(1, 2)", "[1, 2]"),
    Edit("a nesting", "K = [[1], 2]\ndef subject(z):\n    return K\n", "[1], 2", "[1, 2]"),
    Edit("a dict", "K = {'a': {'b': 1}}\ndef subject(z):\n    return K\n", "1", "2"),
    Edit("a key", "K = {'a': 1}\ndef subject(z):\n    return K\n", "'a'", "'b'"),
    Edit("a tuple", "K = (1, (2,))\ndef subject(z):\n    return K\n", "(2,)", "(3,)"),
    Edit("a set", "K = {'a', 'b'}\ndef subject(z):\n    return K\n", "'b'", "'c'"),
    Edit("a set of tuples", "K = {('a', 1), ('b', 2)}\ndef subject(z):\n    return K\n", "2)", "3)"),
    Edit("functions in a dict", HELPER + "K = {'f': [helper]}\ndef subject(z):\n    return K['f'][0](z)\n", "* 2", "* 3"),
    Edit("classes in a tuple", "class A:\n    k = 1\nK = (A,)\ndef subject(z):\n    return K[0].k\n", "k = 1", "k = 2"),
    Edit("modules in a dict", "import helping\nK = {'h': helping}\ndef subject(z):\n    return K['h'].scale(z)\n", "* K", "/ K", SCALE),
    Edit("a global that a class body inside reads", "K = 2\ndef subject(z):\n    class A:\n        k = K\n    return A\n", "K = 2", "K = 3"),
    Edit("what globals() may reach", "K = 2\ndef subject(z):\n    return globals()['K'] * z\n", "K = 2", "K = 3"),
    Edit("a global beyond 256 others", "K = 2\n" + "".join(f"a{i} = 0\n" for i in range(300)) + "def subject(z):\n    "
         + "+".join(f"a{i}" for i in range(300)) + "\n    return K\n", "K = 2", "K = 3"),
    # -- functools and the like
    Edit("a partial's function", PARTIAL + "subject = functools.partial(helper, k=1)\n", "* 2", "* 3"),
    Edit("a partial's argument", PARTIAL + "subject = functools.partial(helper, 5)\n", "5", "6"),
    Edit("a partial's keyword", PARTIAL + "subject = functools.partial(helper, k=1)\n", "k=1", "k=2"),
    Edit("a partial of a partial", PARTIAL + "subject = functools.partial(functools.partial(helper, k=1), m=3)\n", "k=1", "k=2"),
    Edit("a partial as a global", PARTIAL + "P = functools.partial(helper, k=1)\ndef subject(z):\n    return P(z)\n", "k=1", "k=2"),
    Edit("a partialmethod", "import functools\nclass subject:\n    def f(self, k):\n        return k\n    g = functools.partialmethod(f, 5)\n", "5", "6"),
    Edit("an lru_cache", "import functools\n@functools.lru_cache\ndef subject(z):\n    return z + 1\n", "+ 1", "+ 2"),
    Edit("a cached helper", "import functools\n@functools.cache\n" + HELPER + CALLS, "* 2", "* 3"),
    Edit("what a decorator wraps", DECORATED, "z + 1", "z + 2"),
    Edit("a decorator", DECORATED, "2 * f", "3 * f"),
    Edit("a decorator that says it is torch's", DECORATED + "subject.__module__ = 'torch'\n", "z + 1", "z + 2"),
    Edit("a function under torch.no_grad", "import torch\n@torch.no_grad()\ndef subject(z):\n    return z + 1\n", "+ 1", "+ 2"),
    Edit("a case of a singledispatch", "import functools\n@functools.singledispatch\ndef subject(z):\n    return 1\n"
         "@subject.register\ndef _(z: int):\n    return 2\n", "return 2", "return 3"),
    # -- classes
    Edit("a method", CLASS + "    def f(self):\n        return 1\n", "return 1", "return 2"),
    Edit("an attribute", CLASS + "    k = 1\n", "k = 1", "k = 2"),
    Edit("a cached_property", "import functools\n" + CLASS + "    @functools.cached_property\n    def k(self):\n        return 1\n", "return 1", "return 2"),
    Edit("a property", CLASS + "    @property\n    def k(self):\n        return 1\n", "return 1", "return 2"),
    Edit("a property's setter", CLASS + "    @property\n    def k(self):\n        return 1\n    @k.setter\n    def k(self, v):\n        self.v = v + 5\n", "v + 5", "v + 6"),
    Edit("a property's deleter", CLASS + "    k = property(None, None, lambda self: 5)\n", "5", "6"),
    Edit("a property for a method", CLASS + "    @property\n    def k(self):\n        return 1\n", "    @property\n", ""),
    Edit("a staticmethod", CLASS + "    @staticmethod\n    def k():\n        return 1\n", "return 1", "return 2"),
    Edit("a classmethod", CLASS + "    @classmethod\n    def k(cls):\n        return 1\n", "return 1", "return 2"),
    Edit("a classmethod for a staticmethod", CLASS + "    @staticmethod\n    def k(*a):\n        return 1\n", "static", "class"),
    Edit("a base", "class Base:\n    k = 1\nclass subject(Base):\n    pass\n", "k = 1", "k = 2"),
    Edit("a base's base", "class A:\n    k = 1\nclass B(A):\n    pass\nclass subject(B):\n    pass\n", "k = 1", "k = 2"),
    Edit("a base of another file", "import helping\nclass subject(helping.Base):\n    pass\n", "k = 1", "k = 2", "class Base:\n    k = 1\n"),
    Edit("another base", "class A: pass\nclass B:\n    k = 1\nclass subject(A):\n    pass\n", "subject(A)", "subject(B)"),
    Edit("a dataclass's default", "import dataclasses\n@dataclasses.dataclass\nclass subject:\n    k: int = 1\n", "int = 1", "int = 2"),
    Edit("a dataclass's default_factory", "import dataclasses\n@dataclasses.dataclass\nclass subject:\n    k: list = dataclasses.field(default_factory=lambda: [1])\n", "[1]", "[2]"),
    Edit("a dataclass's order of fields", "import dataclasses\n@dataclasses.dataclass\nclass subject:\n    a: int\n    b: int\n", "a: int\n    b: int", "b: int\n    a: int"),
    Edit("a member of an enum", "import enum\nclass subject(enum.Enum):\n    A = 1\n", "A = 1", "A = 2"),
    Edit("a nested class", CLASS + "    class Inner:\n        k = 1\n", "k = 1", "k = 2"),
    Edit("a decorated class", "def twice(c):\n    c.k = 2\n    return c\n@twice\nclass subject:\n    pass\n", "c.k = 2", "c.k = 3"),
    Edit("what super reaches", "class A:\n    def f(self):\n        return 1\nclass subject(A):\n    def f(self):\n        return super().f()\n", "return 1", "return 2"),
    # -- objects
    Edit("an object's state", "class A:\n    def __init__(self, k):\n        self.k = k\nOBJECT = A(1)\ndef subject(z):\n    return OBJECT.k\n", "A(1)", "A(2)"),
    Edit("an object's type", "class A:\n    def f(self):\n        return 1\nOBJECT = A()\ndef subject(z):\n    return OBJECT.f()\n", "return 1", "return 2"),
    Edit("an object's slots", "class A:\n    __slots__ = ('k',)\nOBJECT = A()\nOBJECT.k = 1\ndef subject(z):\n    return OBJECT.k\n", "k = 1", "k = 2"),
    Edit("a list of a kind of one's own", "class A(list):\n    pass\nK = A([1])\ndef subject(z):\n    return K\n", "[1]", "[2]"),
    Edit("a dict of a kind of one's own", "class A(dict):\n    pass\nK = A(a=1)\ndef subject(z):\n    return K\n", "a=1", "a=2"),
    Edit("a callable object", "class A:\n    def __call__(self, z):\n        return z + 1\nsubject = A()\n", "+ 1", "+ 2"),
    Edit("a bound method", "class A:\n    k = 1\n    def f(self):\n        return self.k\nsubject = A().f\n", "k = 1", "k = 2"),
    Edit("a function bound to a list", "import types\nsubject = types.MethodType(lambda self: 5, [])\n", "5", "6"),
    Edit("a class before its object", "class A:\n    k = 1\nOBJECT = A()\ndef subject(z):\n    return A, OBJECT\n", "k = 1", "k = 2"),
    Edit("an array", "import numpy\nK = numpy.arange(4.0)\nK[2] = 7\ndef subject(z):\n    return K\n", "= 7", "= 8"),
    Edit("the dtype of an array", "import numpy\nK = numpy.zeros(4, 'f4')\ndef subject(z):\n    return K\n", "f4", "f8"),
    Edit("a long array's middle", "import numpy\nK = numpy.zeros(10**5)\nK[50000] = 1\ndef subject(z):\n    return K\n", "= 1", "= 2"),
    Edit("a tensor", "import torch\nK = torch.zeros(5000)\nK[2500] = 7\ndef subject(z):\n    return K\n", "= 7", "= 8"),
    Edit("the shape of a tensor", "import torch\nK = torch.zeros(2, 3)\ndef subject(z):\n    return K\n", "2, 3", "3, 2"),
    Edit("the dtype of a tensor", "import torch\nK = torch.zeros(2, dtype=torch.int32)\ndef subject(z):\n    return K\n", "int32", "float32"),
    Edit("a tensor's need of a gradient", "import torch\nK = torch.zeros(2)\ndef subject(z):\n    return K\n", "zeros(2)", "zeros(2, requires_grad=True)"),
    Edit("weights of a module in a list", MODULES + "K = [nn.Linear(2, 2)]\ndef subject(z):\n    return K[0](z)\n", "seed(0)", "seed(1)"),
    Edit("the kind of a module in a dict", MODULES + "K = {'a': nn.ReLU()}\ndef subject(z):\n    return K['a'](z)\n", "ReLU", "Tanh"),
    Edit("a setting of a module", MODULES + "K = (nn.Dropout(0.1),)\ndef subject(z):\n    return K[0](z)\n", "0.1", "0.2"),
    Edit("the class of a module in a list", MODULES + "class M(nn.Module):\n    def forward(self, z):\n        return z + 1\nK = [M()]\ndef subject(z):\n    return K[0](z)\n", "z + 1", "z + 2"),
    Edit("a module inside a module", MODULES + "K = nn.Sequential(nn.Sequential(nn.Dropout(0.1)))\ndef subject(z):\n    return K(z)\n", "0.1", "0.2"),
    # -- other files
    Edit("a function read through a module", "import helping\ndef subject(z):\n    return helping.scale(z)\n", "* K", "/ K", SCALE),
    Edit("a constant of that function", "import helping\ndef subject(z):\n    return helping.scale(z)\n", "K = 2", "K = 3", SCALE),
    Edit("a constant read through a module", "import helping\ndef subject(z):\n    return helping.K\n", "K = 2", "K = 3", SCALE),
    Edit("a function imported by name", "from helping import scale\ndef subject(z):\n    return scale(z)\n", "* K", "/ K", SCALE),
    Edit("a star import", "from helping import *\ndef subject(z):\n    return scale(z)\n", "* K", "/ K", SCALE),
    Edit("an import inside", "def subject(z):\n    import helping\n    return helping.scale(z)\n", "* K", "/ K", SCALE),
    Edit("a name imported inside", "def subject(z):\n    from helping import scale as s\n    return s(z)\n", "* K", "/ K", SCALE),
    Edit("what getattr reads by a text", "import helping\ndef subject(z):\n    return getattr(helping, 'scale')(z)\n", "* K", "/ K", SCALE),
    Edit("what getattr puts together", "import helping\ndef subject(z, n):\n    return getattr(helping, 'sc' + n)(z)\n", "* K", "/ K", SCALE),
    Edit("what eval of the module builtins reads", "import builtins\nK = 2\ndef subject(z):\n    return builtins.eval('K' + z)\n", "K = 2", "K = 3"),
    Edit("what eval of it under another name reads", "import builtins as b\nK = 2\ndef subject(z):\n    return b.eval('K' + z)\n", "K = 2", "K = 3"),
    Edit("what eval reads", "K = 2\ndef subject(z):\n    return eval('K' + z)\n", "K = 2", "K = 3"),
    Edit("what vars reads of a module", "import helping\ndef subject(z, n):\n    return vars(helping)['sc' + n](z)\n", "* K", "/ K", SCALE),
    Edit("what a text names", "import helping, operator\ndef subject(z):\n    return operator.methodcaller('scale', z)(helping)\n", "* K", "/ K", SCALE),
    Edit("another name of a module", "import helping\ndef subject(z):\n    return helping.scale(z)\n", "helping.scale", "helping.other", SCALE),
    Edit("another function of torch", "import torch\ndef subject(z):\n    return torch.relu(z)\n", "torch.relu", "torch.tanh"),
    Edit("another function of torch, by name", "from torch import relu as f\ndef subject(z):\n    return f(z)\n", "relu as", "tanh as"),
    Edit("another class of torch in a dict", "from torch import nn\nK = {'a': nn.ReLU}\ndef subject(z):\n    return K['a']()\n", "ReLU", "Tanh"),
    # -- recursion
    Edit("a function that calls itself", "def subject(z):\n    return subject(z - 1) if z else 5\n", "5", "6"),
    Edit("functions that call each other", "def a(z):\n    return subject(z - 1)\ndef subject(z):\n    return a(z) if z else 5\n", "z - 1", "z - 2"),
    Edit("a list that holds itself", "K = [1]\nK.append(K)\ndef subject(z):\n    return K\n", "[1]", "[2]"),
    Edit("a dict that holds itself", "K = {'a': 1}\nK['k'] = (K,)\ndef subject(z):\n    return K\n", "1", "2"),
    Edit("an object that holds itself", "class A: pass\nK = A()\nK.me, K.k = K, 1\ndef subject(z):\n    return K\n", "K, 1", "K, 2"),
    Edit("an object in a set that it holds", "class A: pass\nK = A()\nK.all, K.k = {K}, 1\ndef subject(z):\n    return K\n", "}, 1", "}, 2"),
    Edit("what lies ten thousand deep", "K = 1\nfor _ in range(10000):\n    K = [K]\ndef subject(z):\n    return K\n", "K = 1", "K = 2"),
    # -- what must not count
    Edit("what stands beside a method that is called eval", "K = 2\ndef subject(net):\n    net.eval()\n    return net.exec, net.globals\n", "K = 2", "K = 3", counts=False),
    Edit("what stands beside an attribute that is called vars", "import helping\ndef subject(z):\n    return helping.scale(z.vars), z.getattr\n", "return z\n", "return -z\n", SCALE, counts=False),
    Edit("a comment", "# one\n" + BODY, "# one", "# two, and longer", counts=False),
    Edit("lines before", "import math\n" + BODY, "import math\n", "import math\n\n\n\n", counts=False),
    Edit("space inside", BODY, "z + 1", "(z  +  1)", counts=False),
    Edit("a docstring's words", "def subject(z):\n    'One.'\n    return z\n", "One.", "Two.", counts=False),
    Edit("a docstring where none was", BODY, "    return z", "    '''Words.'''\n    return z", counts=False),
    Edit("a docstring before None", "def subject(z):\n    if z:\n        return 'a'\n", "    if", "    'Words.'\n    if", counts=False),
    Edit("a docstring before 300 constants", "def subject(z):\n    for i in z:\n        if i:\n            z = ["
         + ", ".join(f"i + {k}.5" for k in range(300)) + "]\n    if z:\n        z = None\n    return z\n", "    for", "    'Words.'\n    for", counts=False),
    Edit("a docstring of a method", CLASS + "    def f(self):\n        return (1, None)\n", "        return", "        'Words.'\n        return", counts=False),
    Edit("a docstring of a class", CLASS + "    k = 1\n", "    k", "    'Words.'\n    k", counts=False),
    Edit("a docstring of a file", BODY, "def subject", "'Words.'\ndef subject", counts=False),
    Edit("an annotation", "def subject(z: int):\n    return z\n", "int", "float", counts=False),
    Edit("a function beside", "def beside():\n    return 1\n" + BODY, "return 1", "return 2", counts=False),
    Edit("a function beside in another file", "import helping\ndef subject(z):\n    return helping.scale(z)\n", "return z\n", "return -z\n", SCALE, counts=False),
    Edit("the order of definitions", "K = 2\n" + HELPER + "def subject(z):\n    return helper(z) * K\n", "K = 2\n" + HELPER, HELPER + "K = 2\n", counts=False),
    Edit("the order of methods", CLASS + "    def f(self):\n        return 1\n    def g(self):\n        return 2\n",
         "    def f(self):\n        return 1\n    def g(self):\n        return 2\n", "    def g(self):\n        return 2\n    def f(self):\n        return 1\n", counts=False),
    Edit("the file's own path", "def subject(z):\n    return __file__\n# one\n", "# one", "# two", counts=False),
    Edit("a global lock", "import threading\nK = threading.Lock()\ndef subject(z):\n    with K:\n        return z\n# one\n", "# one", "# two", counts=False),
    Edit("a logger", "import logging\nK = logging.getLogger(__name__)\ndef subject(z):\n    K.info('a')\n# one\n", "# one", "# two", counts=False),
    Edit("what is shown by its address", "class A: pass\nK = {'a': [A()], 'b': lambda: 1, 'c': object()}\ndef subject(z):\n    return K\n# one\n", "# one", "# two", counts=False),
    Edit("a pattern and types", "import re, typing\nK = [re.compile('a'), int | None, list[int], typing.Optional[str]]\ndef subject(z):\n    return K\n# one\n", "# one", "# two", counts=False),
]  # fmt: skip


@contextmanager
def imported(folder: Path, sources: dict[str, str]):
    """mine.py, imported from a folder; both modules are forgotten after that."""
    folder.mkdir(parents=True)
    for name, text in sources.items():
        (folder / name).write_text(text)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield importlib.import_module("mine")
    finally:
        sys.path.remove(str(folder))
        for name in ("mine", "helping"):
            sys.modules.pop(name, None)


def read(folder: Path, sources: dict[str, str]) -> str:
    with imported(folder, sources) as mine:
        found = digest(mine.subject)
        assert digest(mine.subject) == found, "reading it changes it"
    return found


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.name.replace(" ", "-"))
def test_an_edit_counts_or_does_not(edit, tmp_path):
    before = read(tmp_path / "a", edit.files(edited=False))
    assert read(tmp_path / "elsewhere" / "b", edit.files(edited=False)) == before, "the same file elsewhere"
    assert (read(tmp_path / "c", edit.files(edited=True)) != before) is edit.counts


def test_the_table_has_no_name_twice():
    assert len({edit.name for edit in EDITS}) == len(EDITS)


def digests(folder: Path, *, backwards: bool = False) -> dict[str, str]:
    """Those of all edits' sources as they are before."""
    order = list(enumerate(EDITS))[:: -1 if backwards else 1]
    return {edit.name: read(folder / str(place), edit.files(edited=False)) for place, edit in order}


def test_processes_agree_whatever_their_hash_seed_and_order(tmp_path):
    code = (
        "import json, sys; from pathlib import Path; import test_code\n"
        "print(json.dumps(test_code.digests(Path(sys.argv[1]), backwards=True)))"
    )
    assert os.environ.get("PYTHONHASHSEED", "random") != "1", "this process has another one"
    env = {
        **os.environ,
        "PYTHONHASHSEED": "1",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
    }
    command = [sys.executable, "-c", code, str(tmp_path / "there")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == digests(tmp_path / "here")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("K = open(__file__)\ndef subject(z):\n    return K\n", "K (TextIOWrapper) cannot be read"),
        ("K = (i for i in [1])\ndef subject(z):\n    return K\n", "K (generator) cannot be read"),
        ("K = {'a': [eval]}\ndef subject(z):\n    return K\n", "what it reads is known only when it runs"),
        ("import importlib\ndef subject(z):\n    return importlib.import_module(z)\n", "write an import statement"),
        ("def subject(z):\n    return __import__(z)\n", "it calls __import__"),
        (
            "class A:\n    def __reduce__(self):\n        raise KeyError('no')\nK = A()\ndef subject(z):\n    return K\n",
            "K (A) cannot be read into the name of a run: 'no'",
        ),
    ],
    ids=["file", "generator", "eval", "import_module", "__import__", "no pickle"],
)
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_cannot_be_read_is_refused(source, words, tmp_path):
    with imported(tmp_path / "a", {"mine.py": source}) as mine, pytest.raises(UnreadableError) as error:
        digest(mine.subject)
    assert words in str(error.value)
