"""`--format` with Docker's templates."""

import json
from argparse import ArgumentParser, Namespace

import pytest

from pyswarm.cli.formats import add_format, filled, refuse_both, shown_as, template
from pyswarm.cli.options import add_list_options
from pyswarm.cli.render import Listing, Row
from pyswarm.errors import InvalidArgument
from pyswarm.model import Service, ServiceSpec

WEB = Service(id="s1", spec=ServiceSpec(name="web", replicas=2, labels={"tier": "front"}))
ROWS = Listing(
    ("ID", "NAME"),
    (
        Row("s1", ("s1", "web"), {"ID": "s1", "Name": "web", "TLSStatus": "Ready", "Self": True}),
        Row("s2", ("s2", "d\tb"), {"ID": "s2", "Name": "d\tb", "TLSStatus": "", "Self": False}),
    ),
)


def test_inspect_fills_a_template_for_each_object():
    assert shown_as(template('{{.ID}}{{"\\t"}}{{.Spec.Name}}'))([WEB, WEB]) == "s1\tweb\ns1\tweb"
    assert shown_as("{{json .Spec.Labels}}")([WEB]) == '{"tier": "front"}'
    assert shown_as('{{index .Spec.Labels "tier"}}')([WEB, {"Spec": {"Labels": {}}}]) == "front\n"
    assert shown_as("{{.Said}}")([{"Said": "one\n\x1b[2Jtwo"}]) == "one\n\ufffd[2Jtwo"
    assert json.loads(shown_as("json")([WEB]))[0]["ID"] == "s1"
    assert json.loads(shown_as("")([WEB]))[0]["Spec"]["Replicas"] == 2


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("{{upper .Name}} {{lower .Name}} {{title .Name}}", "A,B a,b A,B"),
        ('{{join (split .Name ",") "+"}}', "a+b"),
        ("{{pad .Name 1 2}}|{{truncate .Name 1}}", " a,b  |a"),
        ("{{range .List}}<{{.}}>{{end}}", "<1><2>"),
        ("{{if .Self}}here{{else}}there{{end}}", "here"),
    ],
)
def test_dockers_functions(text, result):
    assert filled(text, {"Name": "a,b", "List": [1, 2], "Self": True}) == result


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{{.Nane}}", ".Nane is not known, use one of List, Name"),
        ("{{upper .List}}", 'the function "upper" takes other arguments'),
        ("{{join .Name}}", 'the function "join" takes other arguments'),
        ("{{pad .Name 5000 0}}", "pad: at most"),
        ("{{shout .Name}}", 'there is no function "shout"'),
    ],
)
def test_what_cannot_be_filled_is_said(text, problem):
    with pytest.raises(InvalidArgument) as caught:
        filled(text, {"Name": "web", "List": []})
    assert caught.value.message.startswith(f"template: {problem}")


def test_a_listing_takes_templates_with_and_without_a_heading():
    assert ROWS.text("{{.ID}}: {{.Name}} {{.Self}}") == "s1: web true\ns2: d b false"
    assert ROWS.text('{{json .Name}}{{"\\t"}}x') == '"web"\tx\n"d b"\tx'
    lines = ROWS.text("table {{.ID}}\\t{{.TLSStatus}}").splitlines()
    assert [line.split("  ")[0] for line in lines] == ["ID", "s1", "s2"]
    assert lines[0].endswith("TLS STATUS")
    assert Listing(("ID",), ()).text("table {{.ID}}") == "ID"
    with pytest.raises(InvalidArgument, match=r"\.Nane is not known, use one of ID, Name, Self"):
        ROWS.text("{{.Nane}}")


def parse(add, *words):
    parser = ArgumentParser()
    add(parser)
    return parser.parse_args(words)


def test_a_template_that_cannot_be_read_is_a_wrong_value(capsys):
    assert parse(add_list_options, "--format", "{{.ID}}").format == "{{.ID}}"
    for add, text in ((add_list_options, "xml"), (add_list_options, "{{.ID"), (add_format, "{{")):
        with pytest.raises(SystemExit):
            parse(add, "--format", text)
        assert f'invalid argument "{text}" for "--format" flag: ' in capsys.readouterr().err


def test_a_format_and_a_form_for_people_are_two_things():
    with pytest.raises(InvalidArgument, match="--format is incompatible"):
        refuse_both(Namespace(pretty=True, format="{{.ID}}"))
    refuse_both(Namespace(pretty=True, format=""))
