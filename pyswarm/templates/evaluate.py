"""Fills a template with values: texts, whole numbers, booleans, lists, and mappings of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from pyswarm.templates.functions import FUNCTIONS, is_true, shown
from pyswarm.templates.syntax import (
    Action,
    Block,
    Call,
    Field,
    Literal,
    Node,
    Operand,
    Pipeline,
    parse,
)
from pyswarm.templates.syntax import TemplateError as TemplateError

OUTPUT_CHARS_MAX: Final = 512 * 1024
STEPS_MAX: Final = 100_000

Functions = Mapping[str, Callable[..., Any]]


def render(text: str, values: Mapping[str, Any], functions: Functions = FUNCTIONS) -> str:
    """`text` with every action filled; raises TemplateError, also for a field that is not there."""
    if "{{" not in text:
        return text
    filler = _Filler(functions)
    filler.nodes(parse(text), values)
    return "".join(filler.written)


class _Filler:
    def __init__(self, functions: Functions) -> None:
        self._functions = functions
        self.written: list[str] = []
        self._chars = 0
        self._steps = 0

    def nodes(self, nodes: Iterable[Node], dot: Any) -> None:
        """Write nodes one after the other."""
        for node in nodes:
            self._step()
            if isinstance(node, str):
                self._write(node)
            elif isinstance(node, Action):
                self._write(shown(self._pipeline(node.pipeline, dot)))
            else:
                self._block(node, dot)

    def _step(self) -> None:
        self._steps += 1
        if self._steps > STEPS_MAX:
            raise TemplateError(f"the template takes more than {STEPS_MAX} steps")

    def _write(self, text: str) -> None:
        self._chars += len(text)
        if self._chars > OUTPUT_CHARS_MAX:
            raise TemplateError(f"the template writes more than {OUTPUT_CHARS_MAX} characters")
        self.written.append(text)

    def _block(self, block: Block, dot: Any) -> None:
        value = self._pipeline(block.pipeline, dot)
        if not is_true(value):
            self.nodes(block.otherwise, dot)
        elif block.keyword == "range":
            for each in _elements(value):
                self._step()
                self.nodes(block.body, each)
        else:
            self.nodes(block.body, value if block.keyword == "with" else dot)

    def _pipeline(self, pipeline: Pipeline, dot: Any) -> Any:
        value = self._operand(pipeline.commands[0], dot)
        for command in pipeline.commands[1:]:
            value = self._operand(command, dot, value)
        return value

    def _operand(self, operand: Operand, dot: Any, *piped: Any) -> Any:
        self._step()
        if isinstance(operand, Literal):
            return operand.value
        if isinstance(operand, Pipeline):
            return self._pipeline(operand, dot)
        if isinstance(operand, Field):
            inner = dot if operand.of is None else self._pipeline(operand.of, dot)
            return _field(inner, operand.names)
        return self._call(operand, dot, piped)

    def _call(self, call: Call, dot: Any, piped: tuple[Any, ...]) -> Any:
        if call.name not in self._functions:
            known = ", ".join(sorted(self._functions))
            raise TemplateError(f'there is no function "{call.name}", use one of {known}')
        arguments = [self._operand(each, dot) for each in call.arguments]
        try:
            value = self._functions[call.name](*arguments, *piped)
        except TypeError:
            raise TemplateError(f'the function "{call.name}" takes other arguments') from None
        if isinstance(value, str) and len(value) > OUTPUT_CHARS_MAX:
            raise TemplateError(f'"{call.name}" gives more than {OUTPUT_CHARS_MAX} characters')
        return value


def _elements(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return [value[key] for key in sorted(value)]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return value
    raise TemplateError(f"range: {shown(value)[:40]} has no elements")


def _field(value: Any, names: tuple[str, ...]) -> Any:
    for number, name in enumerate(names):
        if not isinstance(value, Mapping) or name not in value:
            path = "." + ".".join(names[: number + 1])
            known = f", use one of {', '.join(sorted(value))}" if isinstance(value, Mapping) else ""
            raise TemplateError(f"{path} is not known{known if value else ''}")
        value = value[name]
    return value
