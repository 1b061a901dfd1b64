"""Reads a template: text, and actions between double braces.

Of Go's language: fields, literals, function calls, parentheses, pipelines, `if`, `with`, `range`,
`else`, `end`, comments and trim markers. Variables and named templates are refused by name.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from pyswarm.errors import InvalidArgument

DEPTH_MAX: Final = 50
TEXT_CHARS_MAX: Final = 256 * 1024
_TOKEN: Final = re.compile(
    r"""
      (?P<space>\s+)
    | (?P<close>-?\}\})
    | (?P<field>(?:\.[^\W\d]\w*)+)
    | (?P<number>[+-]?(?:0[xX][0-9a-fA-F]+|\d{1,18}))(?![\w.])
    | (?P<string>"(?:[^"\\\n]|\\.)*")
    | (?P<raw>`[^`]*`)
    | (?P<word>[^\W\d]\w*)
    | (?P<mark>[().|])
    | (?P<other>.)
    """,
    re.VERBOSE,
)
_BAD_ESCAPE: Final = re.compile(
    r"""(?<!\\)(?:\\\\)*\\(?!["'\\abfnrtv]|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|[0-7]{3})"""
)
_COMMENT: Final = re.compile(r"\{\{(- )?/\*.*?\*/( -)?\}\}", re.DOTALL)
_KEYWORDS: Final = frozenset(["if", "with", "range", "else", "end"])
_REFUSED: Final = frozenset(["define", "template", "block", "break", "continue"])


class TemplateError(InvalidArgument):
    """A template that cannot be read or filled; the message names the place."""


@dataclass(frozen=True, slots=True)
class Field:
    """`.A.B` of the dot, or of what parentheses give; no names is the dot itself."""

    names: tuple[str, ...]
    of: Pipeline | None = None


@dataclass(frozen=True, slots=True)
class Literal:
    """A text, a whole number, true, false or nil."""

    value: str | int | bool | None


@dataclass(frozen=True, slots=True)
class Call:
    """A function with its arguments."""

    name: str
    arguments: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Commands; each gets the value of the one before as its last argument."""

    commands: tuple[Operand, ...]


Operand: TypeAlias = Field | Literal | Call | Pipeline


@dataclass(frozen=True, slots=True)
class Action:
    """A value that is written into the text."""

    pipeline: Pipeline


@dataclass(slots=True)
class Block:
    """`if`, `with` or `range`; `otherwise` is what stands after `else`."""

    keyword: str
    pipeline: Pipeline
    body: list[Node] = field(default_factory=list)
    otherwise: list[Node] = field(default_factory=list)


Node: TypeAlias = str | Action | Block


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of an action; `adjoins`: nothing stands between it and the one before."""

    kind: str
    text: str
    adjoins: bool


def parse(text: str) -> list[Node]:
    """The nodes of a template; raises TemplateError."""
    if len(text) > TEXT_CHARS_MAX:
        raise TemplateError(f"a template has at most {TEXT_CHARS_MAX} characters")
    return _Reader(text).read()


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._trims = False

    def read(self) -> list[Node]:
        root: list[Node] = []
        # Each open block with the list that is being filled, and whether its `else` was there.
        open_blocks: list[tuple[Block, bool, bool]] = []
        nodes = root
        while True:
            nodes += self._plain()
            if self._at >= len(self._text):
                break
            tokens, shown = self._action()
            if not tokens:
                raise TemplateError(f"{shown}: there is nothing between the braces")
            word = tokens[0].text if tokens[0].kind == "word" else ""
            if word in _REFUSED:
                raise TemplateError(f'{shown}: "{word}" is not known here')
            if word not in _KEYWORDS:
                nodes.append(Action(_Expression(tokens, shown).whole()))
            elif word in ("else", "end"):
                if not open_blocks:
                    raise TemplateError(f"{shown}: there is no block that it belongs to")
                nodes = self._continue(open_blocks, word, tokens[1:], shown, root)
            else:
                if len(open_blocks) >= DEPTH_MAX:
                    raise TemplateError(f"blocks are at most {DEPTH_MAX} deep")
                block = Block(word, _Expression(tokens[1:], shown).whole())
                nodes.append(block)
                open_blocks.append((block, False, False))
                nodes = block.body
        if open_blocks:
            raise TemplateError(f"{{{{{open_blocks[-1][0].keyword} ...}}}} has no {{{{end}}}}")
        return root

    def _continue(
        self,
        open_blocks: list[tuple[Block, bool, bool]],
        word: str,
        rest: list[Token],
        shown: str,
        root: list[Node],
    ) -> list[Node]:
        block, has_else, _ = open_blocks[-1]
        if word == "else":
            if has_else:
                raise TemplateError(f"{shown}: the block has an else already")
            open_blocks[-1] = (block, True, open_blocks[-1][2])
            if not rest:
                return block.otherwise
            if rest[0].text not in ("if", "with") or rest[0].text != block.keyword:
                raise TemplateError(f"{shown}: after else stands {block.keyword}, or nothing")
            if len(open_blocks) >= DEPTH_MAX:
                raise TemplateError(f"blocks are at most {DEPTH_MAX} deep")
            inner = Block(block.keyword, _Expression(rest[1:], shown).whole())
            block.otherwise.append(inner)
            # One {{end}} closes the whole chain.
            open_blocks.append((inner, False, True))
            return inner.body
        if rest:
            raise TemplateError(f"{shown}: nothing stands after end")
        while open_blocks.pop()[2]:
            pass
        if not open_blocks:
            return root
        outer, has_else, _ = open_blocks[-1]
        return outer.otherwise if has_else else outer.body

    def _plain(self) -> Iterator[str]:
        """Text up to the next action, without comments."""
        while self._at < len(self._text):
            begin = self._text.find("{{", self._at)
            end = len(self._text) if begin < 0 else begin
            text = self._text[self._at : end]
            if self._trims:
                text = text.lstrip()
                self._trims = False
            self._at = end
            comment = _COMMENT.match(self._text, end) if begin >= 0 else None
            if self._text.startswith("{{- ", end):
                text = text.rstrip()
            if text:
                yield text
            if comment is None:
                return
            self._at, self._trims = comment.end(), bool(comment[2])

    def _action(self) -> tuple[list[Token], str]:
        """The tokens of the action that begins here, and the action as it was written."""
        begin = self._at
        at = begin + (4 if self._text.startswith("{{- ", begin) else 2)
        tokens: list[Token] = []
        adjoins = False
        while match := _TOKEN.match(self._text, at):
            kind = str(match.lastgroup)
            if kind == "close":
                self._at = match.end()
                self._trims = match[0].startswith("-")
                return tokens, self._text[begin : match.end()]
            at = match.end()
            if kind == "other":
                if match[0] == "$":
                    raise TemplateError(
                        f"{self._text[begin:at]}: variables are not known here, write the field"
                    )
                raise TemplateError(f'{self._text[begin:at]}: "{match[0]}" is not expected here')
            if kind != "space":
                tokens.append(Token(kind, match[0], adjoins))
            adjoins = kind != "space"
        raise TemplateError(f'"{self._text[begin : begin + 40]}" has no closing }}}}')


class _Expression:
    """A pipeline out of the tokens of one action."""

    def __init__(self, tokens: list[Token], shown: str) -> None:
        self._tokens, self._shown, self._at, self._depth = tokens, shown, 0, 0

    def whole(self) -> Pipeline:
        found = self._pipeline()
        if self._at < len(self._tokens):
            raise self._error(f'"{self._tokens[self._at].text}" is not expected here')
        return found

    def _error(self, problem: str) -> TemplateError:
        return TemplateError(f"{self._shown}: {problem}")

    def _peek(self) -> str:
        return self._tokens[self._at].text if self._at < len(self._tokens) else ""

    def _pipeline(self) -> Pipeline:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise self._error("there are too many parentheses in one another")
        commands = [self._command(first=True)]
        while self._peek() == "|":
            self._at += 1
            commands.append(self._command(first=False))
        self._depth -= 1
        return Pipeline(tuple(commands))

    def _command(self, first: bool) -> Operand:
        operands: list[Operand] = []
        while self._at < len(self._tokens) and self._peek() not in ("|", ")"):
            operands.append(self._operand())
        if not operands:
            raise self._error("a value is missing")
        head, *arguments = operands
        if isinstance(head, Call):
            return Call(head.name, tuple(arguments))
        if arguments or not first:
            raise self._error("only a function takes arguments")
        return head

    def _operand(self) -> Operand:
        token = self._tokens[self._at]
        self._at += 1
        if token.kind == "field":
            return Field(_names(token))
        if token.kind == "number":
            return Literal(int(token.text, 0) if "x" in token.text.lower() else int(token.text))
        if token.kind in ("string", "raw"):
            return Literal(self._string(token))
        if token.kind == "word":
            words = {"true": True, "false": False, "nil": None}
            return Literal(words[token.text]) if token.text in words else Call(token.text, ())
        if token.text == ".":
            return Field(())
        if token.text != "(":
            raise self._error(f'"{token.text}" is not expected here')
        inner = self._pipeline()
        if self._peek() != ")":
            raise self._error("a parenthesis is not closed")
        self._at += 1
        if self._at < len(self._tokens):
            after = self._tokens[self._at]
            if after.kind == "field" and after.adjoins:
                self._at += 1
                return Field(_names(after), inner)
        return inner

    def _string(self, token: Token) -> str:
        if token.kind == "raw":
            return token.text[1:-1]
        if _BAD_ESCAPE.search(token.text):
            raise self._error(f"{token.text} has an unknown escape")
        try:
            return str(ast.literal_eval(token.text))
        except (ValueError, SyntaxError):
            raise self._error(f"{token.text} is no text") from None


def _names(token: Token) -> tuple[str, ...]:
    return tuple(token.text.split(".")[1:])
