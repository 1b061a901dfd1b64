"""Templates are filled as Go fills them; what cannot be filled is one sentence."""

import pytest

from pyswarm.templates import TemplateError, render

VALUES = {
    "Name": "web",
    "Empty": "",
    "Count": 3,
    "Labels": {"tier": "front", "a.b": "dotted"},
    "List": ["one", "two"],
    "Deep": {"Inner": {"Leaf": "green"}},
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain } text", "plain } text"),
        ("{{.Name}}-{{ .Count }}", "web-3"),
        ("{{.Deep.Inner.Leaf}}", "green"),
        ("a {{- .Name -}} b", "awebb"),
        ("a {{- /* nothing */ -}} b{{/* {{x}} */}}c", "abc"),
        ('{{index .Labels "a.b"}}{{index .Labels "none"}}', "dotted"),
        ("{{index .List 1}}", "two"),
        ('{{"}}"}}{{`a"b`}}{{"\\x41\\n"}}', '}}a"bA\n'),
        ('{{join "-" .Name "x"}}', "web-x"),
        ('{{.Name | printf "%s/%03d" "a" | len}}', None),
        ('{{printf "%s-%03d-%q-%-5v|" .Name .Count "q" true}}', 'web-003-"q"-true |'),
        ('{{(index .Labels "tier") | len}}', "5"),
        ("{{if .Empty}}yes{{else}}no{{end}}", "no"),
        ("{{if eq .Count 1}}a{{else if eq .Count 3}}b{{else}}c{{end}}d", "bd"),
        ("{{if and .Name (not .Empty)}}both{{end}}", "both"),
        ("{{with .Deep}}{{.Inner.Leaf}}{{end}}", "green"),
        ("{{range .List}}<{{.}}>{{else}}none{{end}}", "<one><two>"),
        ("{{range .Labels}}{{.}} {{end}}", "dotted front "),
        ("{{(.Deep).Inner.Leaf}}", "green"),
        ("{{.Labels}}", "map[a.b:dotted tier:front]"),
        ("{{lt .Count 5}}{{ge .Count 5}}{{or .Empty .Name}}", "truefalseweb"),
        ("{{print 1 2 .Name}}", "1 2web"),
        ('{{urlquery "a b"}}{{html "<"}}', "a+b&lt;"),
        ("{{0x10}}{{-2}}", "16-2"),
    ],
)
def test_a_template_is_filled(text, expected):
    if expected is None:
        with pytest.raises(TemplateError, match="does not fit"):
            render(text, VALUES)
    else:
        assert render(text, VALUES) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{{.Colour}}", ".Colour is not known, use one of Count, Deep"),
        ("{{.Deep.Outer}}", ".Deep.Outer is not known, use one of Inner"),
        ("{{.Name.First}}", ".Name.First is not known"),
        ("{{.Name", "has no closing }}"),
        ("{{}}", "nothing between the braces"),
        ("{{.Name .Count}}", "only a function takes arguments"),
        ("{{fly .Name}}", 'no function "fly"'),
        ("{{len}}", 'function "len" takes other arguments'),
        ("{{len .Count}}", "has no length"),
        ("{{index .Name 1}}", "has no elements"),
        ("{{index .List 5}}", "out of range"),
        ("{{if .Name}}", "has no {{end}}"),
        ("{{end}}", "no block"),
        ("{{if .Name}}{{else}}{{else}}{{end}}", "has an else already"),
        ("{{$x := .Name}}", "variables are not known here"),
        ('{{define "x"}}{{end}}', '"define" is not known here'),
        ("{{(.Name}}", "not closed"),
        ("{{.Name)}}", "not expected"),
        ("{{.Name |}}", "a value is missing"),
        ('{{"\\q"}}', "unknown escape"),
        ("{{.Name ! 1}}", '"!" is not expected'),
        ("{{range .Name}}{{end}}", "has no elements"),
        ('{{printf "%9999s" .Name}}', "wider than"),
        ('{{printf "%d" .Name}}', "does not fit"),
        ("{{eq .Name 1}}", "cannot be compared"),
        ("{{" + "(" * 60 + ".Name" + ")" * 60 + "}}", "too many parentheses"),
        ("{{if .Name}}" * 60, "deep"),
    ],
)
def test_a_wrong_template_is_one_sentence(text, words):
    with pytest.raises(TemplateError) as error:
        render(text, VALUES)
    assert words in error.value.message
    assert "\n" not in error.value.message


def test_a_template_that_never_ends_is_stopped():
    with pytest.raises(TemplateError, match="steps"):
        render("{{range .L}}{{range .}}{{end}}{{end}}", {"L": [list(range(2000))] * 100})
    with pytest.raises(TemplateError, match="characters"):
        render("{{range .L}}" + "x" * 10_000 + "{{end}}", {"L": list(range(100))})
