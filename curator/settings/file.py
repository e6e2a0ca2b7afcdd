"""Reading, checking, changing and describing `curator.toml`.

The file is read once, where a workspace is opened. A key that does not exist is refused
with the nearest one that does; a change keeps every comment.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import re
import stat
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeGuard

from pydantic import BaseModel, ValidationError

from curator.base.files import replacing
from curator.errors import CuratorError, SettingsError, UsageError
from curator.settings.sections import REMOVED_SETTINGS, Settings

FILE_NAME = "curator.toml"


def read_settings(path: Path) -> Settings:
    """Read and check `path`. Raises SettingsError naming the file, the key and the remedy."""
    return parse_settings(read_settings_text(path), str(path))


def read_settings_text(path: Path) -> str:
    """The text of a settings file. Raises SettingsError if it is missing, no file or not text."""
    try:
        # A pipe would be waited on.
        if not stat.S_ISREG(path.stat().st_mode):
            raise SettingsError(
                f"{path} is {'a folder' if path.is_dir() else 'a device or a pipe'}, not a file.",
                "Put a file in its place; an empty one takes every default.",
            )
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SettingsError(
            f"{path} is missing.", "Restore it; an empty file takes every default."
        ) from None
    except OSError as error:
        raise SettingsError(
            f"{path} cannot be read: {error.strerror or error}.",
            "Put a file in its place that you may read; an empty one takes every default.",
        ) from error
    except UnicodeDecodeError as error:
        raise SettingsError(
            f"{path} is not UTF-8 from byte {error.start + 1:,} on.",
            "Save it in UTF-8.",
        ) from error


def parse_settings(text: str, where: str) -> Settings:
    """Check a settings file's text; `where` names its origin in error messages."""
    try:
        return check_settings(tomllib.loads(text), where)
    except tomllib.TOMLDecodeError as error:
        raise _no_toml(where, error) from error
    except RecursionError:
        raise SettingsError(
            f"{where} is not valid: a value is nested too deeply.", "Correct that line."
        ) from None


def check_settings(content: Mapping[str, Any], where: str) -> Settings:
    """Check a nested mapping of settings; `where` names its origin in error messages."""
    keys = set(setting_keys())
    for key in _dotted(content):
        if key not in keys:
            raise unknown_key(key, where)
    try:
        return Settings.model_validate(content)
    except ValidationError as error:
        details = error.errors()[0]
        key = ".".join(str(part) for part in details["loc"][:2])
        if details["type"] == "value_error":  # a sentence of curator's own
            reason = str(details["ctx"]["error"])
            problem = f"{key}: {reason}{'' if reason.endswith(('.', '?')) else '.'}"
        elif key in keys:
            problem = f"`{key}` must be {describe_setting(key).values}."
        else:
            problem = f"`{key}` is a section, not a setting."
        raise SettingsError(
            f"{where}: {problem}",
            f"`curator config {key}` explains it." if key in keys else "",
        ) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingDescription:
    """What the reference says about one setting; `values` is a phrase, `default` TOML."""

    key: str
    values: str
    default: str
    meaning: str


def unknown_key(key: str, where: str = "") -> CuratorError:
    """The error for a setting that does not exist, with the nearest one that does.

    SettingsError if the key is in the file `where`, UsageError without `where`.
    """
    if reason := REMOVED_SETTINGS.get(key):
        problem = f"the setting `{key}` was removed: {reason}."
        if where:
            return SettingsError(f"{where}: {problem}", "Delete that line.")
        return UsageError(f"{problem[:1].upper()}{problem[1:]}", "Remove it.")
    near = nearest(key, setting_keys())
    hint = f"Did you mean `{near}`?" if near else "`curator config` lists all settings."
    if where:
        return SettingsError(f"{where}: there is no setting `{key}`.", hint)
    return UsageError(f"There is no setting `{key}`.", hint)


def section_models() -> dict[str, type[BaseModel]]:
    """The sections of `curator.toml` in the order in which they are documented."""
    models = {name: field.annotation for name, field in Settings.model_fields.items()}
    return {name: model for name, model in models.items() if _is_model(model)}


def setting_keys() -> Iterator[str]:
    """The dotted keys of all settings, in the order in which they are documented."""
    for section, model in section_models().items():
        for name in model.model_fields:
            yield f"{section}.{name}"


def describe_setting(key: str) -> SettingDescription:
    """The documentation of one dotted key. Raises SettingsError if there is none."""
    section, name = _split(key)
    model = section_models()[section]
    field = model.model_fields[name]
    schema = model.model_json_schema()["properties"][name]
    return SettingDescription(
        key=key,
        values=_values_phrase(schema),
        default=as_toml(field.get_default()),
        meaning=_meanings(model).get(name, ""),
    )


@cache
def _meanings(model: type[BaseModel]) -> dict[str, str]:
    """The string under each field of a section."""
    # Pydantic can collect these, but it does so at every start of the program.
    (section,) = ast.parse(inspect.getsource(model)).body
    assert isinstance(section, ast.ClassDef)
    return {
        field.target.id: " ".join(below.value.value.split())
        for field, below in pairwise(section.body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(below, ast.Expr)
        and isinstance(below.value, ast.Constant)
        and isinstance(below.value.value, str)
    }


def value_of(settings: Settings, key: str) -> Any:
    """The value of one dotted key. Raises SettingsError if there is no such key."""
    section, name = _split(key)
    return getattr(getattr(settings, section), name)


def as_toml(value: Any) -> str:
    """A setting's value as TOML."""
    import tomlkit

    if isinstance(value, dict):
        table = tomlkit.inline_table()
        table.update(value)
        return str(table.as_string())
    plain = list(value) if isinstance(value, tuple) else value
    return str(tomlkit.item(plain).as_string())


def change_settings(text: str, changes: Mapping[str, str], where: str) -> str:
    """The text of a settings file with `changes` applied and every comment kept.

    Values are written as TOML; a bare word is taken as a string, and words with commas
    between them as a list where the setting is one. Raises SettingsError if a key is
    unknown or the result would not be valid.
    """
    import tomlkit

    try:
        document = tomlkit.parse(text)
    except (tomlkit.exceptions.TOMLKitError, RecursionError) as error:
        raise _no_toml(where, error) from error
    for key, value in changes.items():
        section, name = _split(key)
        if section not in document:
            document.add(section, tomlkit.table())
        table = document[section]
        if not isinstance(table, tomlkit.items.Table):
            raise SettingsError(f"{where}: `{section}` is not a section.", f"Write [{section}].")
        table[name] = _parse_value(value, is_list=describe_setting(key).values.startswith("a list"))
    changed = tomlkit.dumps(document)
    parse_settings(changed, where)
    return changed


def write_settings(root: Path, changes: Mapping[str, str]) -> None:
    """Change settings in the `curator.toml` of the workspace in `root`.

    Raises SettingsError, and writes nothing, if a key is unknown or the result invalid.
    """
    path = root / FILE_NAME
    changed = change_settings(read_settings_text(path), changes, str(path))
    with replacing(path) as stream:
        stream.write(changed.encode())


def nearest(word: str, names: Iterable[str]) -> str | None:
    """The name that `word` was probably meant to be, None if nothing is similar."""
    return next(iter(difflib.get_close_matches(word, list(names), n=1, cutoff=0.5)), None)


def _no_toml(where: str, error: Exception) -> SettingsError:
    """The error for text that no parser of TOML takes, with the line where it ended."""
    line = re.search(r"\bline (\d+)", str(error))
    position = f"at line {line[1]}" if line else "at its end"
    return SettingsError(f"{where} is not valid TOML {position}.", "Correct that line.")


def _split(key: str) -> tuple[str, str]:
    if key not in set(setting_keys()):
        raise unknown_key(key)
    section, _, name = key.partition(".")
    return section, name


def _is_model(model: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(model, type) and issubclass(model, BaseModel)


def _parse_value(text: str, *, is_list: bool) -> Any:
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    if is_list and not isinstance(value, list):
        return [part.strip() for part in text.split(",") if part.strip()]
    return value


def _values_phrase(schema: Mapping[str, Any]) -> str:
    """A JSON schema in a few words: `a number from 0.0 to 1.0`, ``one of `a`, `b` ``."""
    if "anyOf" in schema:
        return ", or ".join(_values_phrase(part) for part in schema["anyOf"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return "one of " + ", ".join(f"`{choice}`" for choice in schema["enum"])
    if "description" in schema:
        return str(schema["description"])
    if schema["type"] in {"integer", "number"}:
        noun = "a whole number" if schema["type"] == "integer" else "a number"
        bounds = {
            "above": "exclusiveMinimum",
            "at least": "minimum",
            "below": "exclusiveMaximum",
            "at most": "maximum",
        }
        if "minimum" in schema and "maximum" in schema:
            return f"{noun} from {schema['minimum']:g} to {schema['maximum']:g}"
        ends = [f"{word} {schema[bound]:g}" for word, bound in bounds.items() if bound in schema]
        return " ".join([noun, " and ".join(ends)]).rstrip()
    if schema["type"] == "array":
        each = _values_phrase(schema.get("items", {"type": "string"}))
        return "a list" if each == "text" else f"a list, each {each}"
    if schema["type"] == "string":
        return "text, not empty" if "minLength" in schema else "text"
    return {"boolean": "`true` or `false`", "object": "a table"}[schema["type"]]


def _dotted(content: Mapping[str, Any]) -> Iterator[str]:
    for section, values in content.items():
        if isinstance(values, dict) and section in Settings.model_fields:
            yield from (f"{section}.{name}" for name in values)
        else:
            yield str(section)
