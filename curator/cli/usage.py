"""What is wrong with the words of a command line, in curator's words instead of its parser's."""

from __future__ import annotations

import re
from typing import Any

import typer

from curator.errors import UsageError


def usage_error(error: typer.TyperException, command: str) -> UsageError:
    """The error in curator's words; `command` is what was called, where Typer does not know."""
    # Typer keeps the classes of its errors to itself; their names and attributes say the kind.
    kind, details = type(error).__name__, vars(error)
    context: typer.Context | None = details.get("ctx")
    path = command if context is None else context.command_path
    parameter, option = details.get("param"), details.get("option_name")
    advice = f"See `{path} --help`."
    if kind == "MissingParameter" and parameter is not None:
        return UsageError(f"`{path}` needs {_name(parameter, with_value=True)}.", advice)
    if parameter is not None:
        return UsageError(_wrong_value(error, parameter), advice)
    if kind == "NoSuchOption":
        near = " or ".join(f"`{name}`" for name in sorted(details["possibilities"] or ()))
        hint = f"Did you mean {near}? " if near else ""
        return UsageError(f"`{path}` has no option `{option}`.", hint + advice)
    if option is not None:
        lacks = "requires an argument" in error.message
        return UsageError(f"`{option}` {'needs a' if lacks else 'takes no'} value.", advice)
    if unknown := re.fullmatch(
        r"No such command '(.*?)'\.(?: Did you mean '(.*)'\?)?", error.message
    ):
        word, near = unknown.groups()
        hint = f"Did you mean `{near}`? ".replace("', '", "` or `") if near else ""
        return UsageError(f"`{path}` has no command `{word}`.", hint + advice)
    if extra := re.search(r"unexpected extra argument\(s\) \((.*)\)", error.message):
        return UsageError(f"`{path}` does not take `{extra[1]}`.", advice)
    return UsageError("No command was given.", advice)


def _name(parameter: Any, *, with_value: bool = False) -> str:
    """An argument as help shows it, an option by its longest name."""
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name.upper()).strip("[].")
    name = max(parameter.opts, key=len)
    return f"{name} {parameter.metavar}" if with_value and parameter.metavar else name


def _wrong_value(error: typer.TyperException, parameter: Any) -> str:
    """Which values a parameter takes, after one that it does not take."""
    name = _name(parameter)
    refusal: Any = error.__cause__
    if refusal is None or not hasattr(refusal, "errors"):
        return f"{name}: {error.message}"  # written in curator
    (details, *_) = refusal.errors()
    typed, kind = details["input"], details["type"]
    choices = re.findall(r"'([^']*)'", details["msg"].partition("is not one of")[2])
    if choices:
        takes = "one of " + ", ".join(f"`{choice}`" for choice in choices)
    else:
        bounds = (parameter.min, parameter.max)
        whole = kind.startswith("int") or any(isinstance(bound, int) for bound in bounds)
        takes = "a whole number" if whole else "a number"
        ends = zip(("of at least", "of at most"), bounds, strict=True)
        takes = " ".join([takes, *(f"{word} {end:g}" for word, end in ends if end is not None)])
    return f"{name} takes {takes}, not `{typed}`."
