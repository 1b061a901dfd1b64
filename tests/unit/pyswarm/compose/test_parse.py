"""YAML with places, without YAML 1.1's surprises, within bounds."""

import pytest

from pyswarm.compose.marked import ComposeError
from pyswarm.compose.parse import DEPTH_MAX, parse


def refusal(text):
    with pytest.raises(ComposeError) as caught:
        parse(text, "c.yml")
    return caught.value.message


def test_a_value_knows_the_line_of_its_key():
    tree = parse("services:\n  web:\n    image:\n      nginx\n    ports:\n    - 80\n", "c.yml")
    image = tree.at("services", "web", "image")
    assert (image.text, str(image.place), image.path) == ("nginx", "c.yml:3", "services.web.image")
    port = tree.at("services", "web", "ports").items[0]
    assert (str(port.place), port.path) == ("c.yml:6", "services.web.ports[0]")


@pytest.mark.parametrize("text", ["22:22", "yes", "off", "1.10", "0440", "2024-01-01", "1e3"])
def test_a_scalar_stays_as_it_is_written(text):
    assert parse(f"a: {text}", "c.yml").at("a").value == text


@pytest.mark.parametrize("text", ["", "~", "null", "NULL"])
def test_null_is_null_unless_it_is_quoted(text):
    tree = parse(f'a: {text}\nb: "{text}"', "c.yml")
    assert tree.at("a").value is None
    assert tree.at("b").value == text


def test_a_key_twice_is_refused_with_both_lines():
    assert refusal("a:\n  b: 1\n  c: 2\n  b: 3") == "c.yml:4: a: the key 'b' is already in line 2"


def test_own_keys_win_over_merged_ones_and_the_first_source_over_later_ones():
    tree = parse("x-a: &a {p: 1, q: 1}\nx-b: &b {q: 2, r: 2}\nm: {<<: [*a, *b], p: 0}", "c.yml")
    assert tree.at("m").text_entries == {"q": "1", "r": "2", "p": "0"}
    assert tree.at("m", "q").path == "m.q"


def test_an_alias_is_copied_to_its_own_path():
    tree = parse("a: &x\n  k: [1]\nb: *x", "c.yml")
    assert tree.at("b", "k").items[0].path == "b.k[0]"
    assert tree.at("b", "k").place.line == 2


def test_a_billion_laughs_end_early():
    lines = ["a0: &a0 [l, l, l, l, l, l, l, l, l, l]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    assert "more than 50000 values" in refusal("\n".join(lines))


@pytest.mark.parametrize("text", ["a: " + "[" * 5000, "{a: " * 5000, "- " * 5000])
def test_deep_nesting_ends_early(text):
    assert f"deeper than {DEPTH_MAX}" in refusal(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "c.yml is empty: a compose file needs at least a service"),
        ("# nothing", "c.yml is empty: a compose file needs at least a service"),
        ("- a", "c.yml:1: the top level of a compose file must be a mapping"),
        ("a: 1\n---\nb: 1", "c.yml:3: a second document begins here"),
        ("a: [1\nb: 2", "c.yml:2: not valid YAML: expected ',' or ']'"),
        ("a:\n\t- b", "c.yml:2: not valid YAML: found character '\\t'"),
        ("a: &x [*x]", "c.yml:1: a[0]: the anchor &x contains itself"),
        ("a: *x", "c.yml:1: a: the alias *x has no anchor &x before it"),
        ("a: !!python/object:os.system x", "has no meaning in a compose file"),
        ("[a]: 1", "c.yml:1: a key must be plain text"),
        ("a: {<<: 1}", "<< takes a mapping or a list of mappings"),
        ('a: "\\uD800"', "holds a character that no text may hold"),
        ('a: "\\0"', "holds a character that no text may hold"),
        ('a: "\\UFFFFFFFF"', "not valid YAML"),
        ("a: \x07", "not valid YAML"),
    ],
)
def test_each_kind_of_bad_yaml_gets_a_sentence(text, message):
    assert message in refusal(text)
