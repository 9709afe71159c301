"""Names and specifications."""

from __future__ import annotations

import pickle

import pytest

from skipway.nets.registry import FAMILIES, check_family
from skipway.settings.registry import Registry, Spec, UnknownNameError, check_settings, settings_of
from skipway.skip import gate as gates
from skipway.skip import shortcuts
from skipway.skip.gate import GATES
from skipway.skip.shortcuts import SHORTCUTS
from skipway.training.recipe import RECIPES

REGISTRIES = {"gate": GATES, "shortcut": SHORTCUTS, "family": FAMILIES, "recipe": RECIPES}
WRITTEN = [
    "highway",
    "highway:bias=-4",
    "a:b=1,c=x",
    "a:b=true",
    "a:b=1e-05",
    "a:b=0.1234567891",
    "a:b=1e+20",
    "a:b=-0.5",
]


def maker(
    *, number: float = 1.0, whole: int = 2, flag: bool = False, word: str = "auto", thing: object = None
) -> None: ...


@pytest.mark.parametrize("text", WRITTEN)
def test_a_specification_reads_back_what_it_wrote(text):
    spec = Spec.parse(text)
    assert str(spec) == text
    assert Spec.parse(str(spec)) == spec


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a:b=1,c=2", "a:c=2,b=1"),
        ("a:b=1,c=2", " a : b = 1 , c = 2 "),
        ("a:b=true", "a:b=True"),
        ("a:b=0.00001", "a:b=1e-5"),
    ],
)
def test_equal_specifications_have_equal_strings(one, other):
    assert Spec.parse(one) == Spec.parse(other)
    assert str(Spec.parse(one)) == str(Spec.parse(other))


@pytest.mark.parametrize("text", ["", ":", ":a=1", "a:", "a:b", "a:b=", "a:=1", "a:b=1,", "a:b=1,b=2", "a:b=1;c=2,d"])
def test_what_is_no_specification_is_refused_with_the_text(text):
    with pytest.raises(ValueError) as error:
        Spec.parse(text)
    assert repr(text) in str(error.value)


def test_values_are_read_as_what_they_look_like():
    settings = dict(Spec.parse("a:i=3,f=3.5,e=1e-3,t=true,n=False,w=auto,inf=inf,nan=nan").settings)
    assert settings == {"i": 3, "f": 3.5, "e": 1e-3, "t": True, "n": False, "w": "auto", "inf": "inf", "nan": "nan"}
    assert type(settings["i"]) is int
    assert type(settings["t"]) is bool


def test_settings_are_the_keyword_only_arguments_with_a_plain_default():
    assert settings_of(maker) == {"number": 1.0, "whole": 2, "flag": False, "word": "auto"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("m", "m"),
        ("m:number=1,whole=2,flag=false,word=auto", "m"),
        ("m:number=3", "m:number=3"),
        ("m:number=3.0", "m:number=3"),
        ("m:word=-4", "m:word=-4"),
        ("m:word=-4.0", "m:word=-4"),
        ("m:whole=3,flag=true", "m:flag=true,whole=3"),
    ],
)
def test_canonical_settings_leave_defaults_out_and_write_numbers_one_way(text, expected):
    checked = check_settings(Spec.parse(text), maker, "thing")
    assert str(checked) == expected
    assert check_settings(Spec.parse(str(checked)), maker, "thing") == checked


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("m:nmber=3", ("'nmber'", "number=1", "whole=2", "word=auto")),
        ("m:number=x", ("'number'", "'x'", "a number", "1")),
        ("m:whole=1.5", ("'whole'", "'1.5'", "a whole number", "2")),
        ("m:flag=1", ("'flag'", "'1'", "true or false", "false")),
        ("m:number=true", ("'number'", "'true'", "a number")),
        ("m:word=true", ("'word'", "'true'", "a word or a number")),
    ],
)
def test_a_wrong_setting_is_named_with_what_would_be_valid(text, words):
    with pytest.raises(ValueError) as error:
        check_settings(Spec.parse(text), maker, "thing")
    for word in words:
        assert word in str(error.value)


def test_an_unknown_name_lists_the_nearest_first_and_then_all():
    with pytest.raises(UnknownNameError) as error:
        GATES["higway"]
    message = str(error.value)
    assert "unknown gate 'higway'" in message
    assert "Did you mean 'highway'" in message
    assert all(name in message for name in GATES)


def test_whoever_imports_one_name_of_the_equation_has_every_rule():
    own = {registry[name].__module__ for registry in (GATES, SHORTCUTS) for name in registry}
    # Beside ours stand what other tests of this process defined.
    assert {module for module in own if module.startswith("skipway.")} == {
        "skipway.skip.gates",
        "skipway.skip.shortcuts",
    }


def test_an_unknown_name_comes_whole_from_another_process():
    error = UnknownNameError("gate", "higway", ["highway", "plain"])
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is UnknownNameError
    assert str(again) == str(error)


@pytest.mark.parametrize("kind", REGISTRIES)
def test_every_registry_answers_a_wrong_name_and_knows_its_own(kind):
    registry = REGISTRIES[kind]
    with pytest.raises(UnknownNameError, match=f"unknown {kind} 'no-such-thing'"):
        registry["no-such-thing"]
    assert "no-such-thing" not in registry
    assert len(registry) == len(list(registry)) > 0
    for name in registry:
        assert registry[name] is registry.get(name)


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a=b", "a,b"])
def test_names_hold_no_sign_of_a_specification(name):
    with pytest.raises(ValueError, match="must be non-empty and hold none of"):
        Registry("thing").add(name, 1)


def test_a_name_is_given_once():
    registry: Registry[object] = Registry("thing")
    registry.add("one", maker)
    registry.add("one", maker)  # the same definition, met twice
    with pytest.raises(ValueError, match="a thing named 'one' exists already"):
        registry.add("one", object())
    other = object()
    registry.replace("one", other)
    assert registry["one"] is other
    registry.remove("one")
    assert list(registry) == []


@pytest.mark.parametrize("name", GATES)
def test_a_gate_named_alone_is_the_gate_with_its_defaults(name):
    defaults = Spec(name, tuple(sorted(settings_of(GATES[name]).items())))
    assert gates.canonical(str(defaults)) == gates.canonical(name) == name


@pytest.mark.parametrize("name", SHORTCUTS)
def test_a_shortcut_named_alone_is_the_shortcut_with_its_defaults(name):
    defaults = Spec(name, tuple(sorted(settings_of(SHORTCUTS[name]).items())))
    assert shortcuts.canonical(str(defaults)) == shortcuts.canonical(name) == name


@pytest.mark.parametrize("name", FAMILIES)
def test_a_body_named_alone_is_the_body_with_its_defaults(name):
    defaults = Spec(name, tuple(sorted(settings_of(FAMILIES[name].make).items())))
    assert str(check_family(str(defaults))) == str(check_family(name)) == name


def test_equal_gates_written_differently_agree():
    assert gates.canonical("highway:kernel=1,bias=-4") == gates.canonical(" highway:bias=-4.0,kernel=1.0")
    assert gates.canonical("layerscale:init=0.00001") == gates.canonical("layerscale:init=1e-5")
    assert gates.canonical("highway:bias=-4") != gates.canonical("highway:bias=-5")


@pytest.mark.parametrize("check", [gates.canonical, shortcuts.canonical, check_family])
def test_unknown_names_and_settings_are_refused_everywhere(check):
    with pytest.raises(UnknownNameError, match="Valid: "):
        check("no-such-thing:bias=1")
    known = {gates.canonical: "highway", shortcuts.canonical: "A", check_family: "dense"}[check]
    with pytest.raises(ValueError, match="has no setting 'no_such'"):
        check(f"{known}:no_such=1")
