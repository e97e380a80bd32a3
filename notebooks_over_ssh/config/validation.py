"""Validates one layer of settings against the schema.

msgspec validates the values, so the schema alone defines types and ranges. Its messages name neither the source nor the
value, so the messages are composed here, from the same types.
"""

import difflib
import re
import reprlib
from collections.abc import Iterable, Mapping
from typing import Any, get_origin

import msgspec
from msgspec import inspect

from notebooks_over_ssh.config.files import parse_value
from notebooks_over_ssh.config.schema import NOT_SUPPORTED
from notebooks_over_ssh.errors import ConfigError

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)
_BOOLEANS = {
    "1": True, "true": True, "yes": True, "on": True,
    "0": False, "false": False, "no": False, "off": False,
}  # fmt: skip
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 60
_NULL_WORDS = frozenset({"", "none", "null", "~"})


def known_settings(schema: type[msgspec.Struct]) -> dict[str, Any]:
    """The type of each setting in `schema`, by its path, such as `notebook.nice`."""
    result: dict[str, Any] = {}
    for field in msgspec.structs.fields(schema):
        if _is_section(field.type):
            inner = known_settings(field.type)
            result |= {f"{field.encode_name}.{path}": type_ for path, type_ in inner.items()}
        else:
            result[field.encode_name] = field.type
    return result


def check_mapping(raw: Mapping[Any, Any], schema: type[msgspec.Struct], source: str) -> dict[str, Any]:
    """Validate the settings in `raw`, and return them by path. Raises ConfigError.

    `source` is where they come from, for messages: a file, or the command line.
    """
    known_types = known_settings(schema)
    values: dict[str, Any] = {}
    for path, value in _flatten(raw, schema, source, known_types, prefix=""):
        values[path] = check_value(value, known_types[path], f"{path} in {source}", in_file=True)
    return values


def check_value(value: Any, type_: Any, name: str, *, in_file: bool = False) -> Any:
    """Return `value`, converted to `type_`; `name` is its name in messages. Raises ConfigError."""
    try:
        return msgspec.convert(value, type_, strict=True)
    except (msgspec.ValidationError, RecursionError):
        info = inspect.type_info(type_)
        raise ConfigError(
            f"{name} must be {_describe_type(info, value)}, not {_format_value(value)}",
            hint=_hint(value, info, in_file=in_file),
        ) from None


def parse_text(text: str, type_: Any) -> Any:
    """Parse the text of a flag or variable for a setting of `type_`; returns `text` itself if that fails."""
    members = _members(inspect.type_info(type_))
    if any(isinstance(member, inspect.NoneType) for member in members) and text.lower() in _NULL_WORDS:
        return None
    collection = any(isinstance(member, inspect.ListType | inspect.DictType) for member in members)
    if collection and text[:1] in ("[", "{"):
        try:
            return parse_value(text)
        except ValueError:
            return text
    if any(_is_list_of_numbers(member) for member in members):
        parts = text.replace(",", " ").split()
        return [int(part) for part in parts] if all(map(_INTEGER.fullmatch, parts)) else text
    if any(isinstance(member, inspect.BoolType) for member in members):
        return _BOOLEANS.get(text.lower(), text)
    if any(isinstance(member, inspect.IntType) for member in members) and _INTEGER.fullmatch(text):
        return int(text)
    return text


def closest_match(path: str, known_types: Iterable[str]) -> str | None:
    """The known path most similar to `path`, or None.

    A similar name in the same section is preferred, then the same name in another section, then a similar one there.
    """
    section, _, last = path.rpartition(".")
    names = {candidate.rpartition(".")[2]: candidate for candidate in reversed(list(known_types))}
    siblings = {
        name: candidate for name, candidate in names.items() if candidate.rpartition(".")[0] == section
    }
    # 0.55 is low enough to suggest notebook.local_port for notebook.port.
    if section and (close := difflib.get_close_matches(last, siblings, n=1, cutoff=0.55)):
        return siblings[close[0]]
    close = [last] if last in names else difflib.get_close_matches(last, names, n=1, cutoff=0.7)
    return names[close[0]] if close else None


def _flatten(
    raw: Mapping[Any, Any],
    schema: type[msgspec.Struct],
    source: str,
    known_types: Mapping[str, Any],
    prefix: str,
) -> list[tuple[str, Any]]:
    fields = {field.encode_name: field.type for field in msgspec.structs.fields(schema)}
    result: list[tuple[str, Any]] = []
    for key, value in raw.items():
        path = f"{prefix}{_format_value(key) if not isinstance(key, str) else key}"
        if path in NOT_SUPPORTED:
            _refuse_unsupported(path, value, source)
            continue
        if not isinstance(key, str) or key not in fields:
            raise ConfigError(
                f"unknown setting {path} in {source}", hint=_suggest(path, prefix, fields, known_types)
            )
        if not _is_section(fields[key]):
            result.append((path, value))
        elif isinstance(value, Mapping):
            result += _flatten(value, fields[key], source, known_types, prefix=f"{path}.")
        elif value is not None:  # a section without settings is valid
            kind = "a list" if isinstance(value, list) else "a single value"
            raise ConfigError(
                f"{path} in {source} must be a mapping of names to values, not {kind}",
                hint=f"write its settings below it, indented, such as {_example(path, known_types)}",
            )
    return result


def _refuse_unsupported(path: str, value: Any, source: str) -> None:
    default, hint = NOT_SUPPORTED[path]
    if value is not default:
        raise ConfigError(f"{path} in {source} is not supported", hint=hint)


def _suggest(path: str, prefix: str, fields: Iterable[str], known_types: Iterable[str]) -> str:
    candidates = [*(f"{prefix}{field}" for field in fields), *known_types]
    if match := closest_match(path, candidates):
        return f"did you mean {match}?"
    return f"the settings {f'in {prefix[:-1]}' if prefix else 'there'} are {', '.join(fields)}"


def _example(path: str, known_types: Mapping[str, Any]) -> str:
    return next(candidate for candidate in known_types if candidate.startswith(f"{path}."))


def _is_section(type_: Any) -> bool:
    return get_origin(type_) is None and isinstance(type_, type) and issubclass(type_, msgspec.Struct)


def _members(info: inspect.Type) -> tuple[inspect.Type, ...]:
    return info.types if isinstance(info, inspect.UnionType) else (info,)


def _is_list_of_numbers(info: inspect.Type) -> bool:
    return isinstance(info, inspect.ListType) and isinstance(info.item_type, inspect.IntType)


def _describe_type(info: inspect.Type, value: Any) -> str:
    match info:
        case inspect.UnionType(types=types):
            return " or ".join(_describe_type(t, value) for t in types if not isinstance(t, inspect.NoneType))
        case inspect.IntType(ge=int() as low, le=int() as high):
            return f"a whole number from {low} to {high}"
        case inspect.BoolType():
            return "true or false"
        case inspect.LiteralType(values=values):
            *names, last = (str(name) for name in values)
            return f"{', '.join(names)} or {last}"
        case inspect.StrType() if value == "":
            return "a non-empty string"
        case inspect.StrType():
            return "one line without control characters" if isinstance(value, str) else "a string"
        case inspect.ListType(item_type=inspect.IntType(ge=int() as low, le=int() as high)):
            return f"a list of whole numbers from {low} to {high}"
        case inspect.ListType():
            return "a list of strings"
        case inspect.DictType(key_type=inspect.LiteralType() as key, value_type=inner):
            return f"a mapping from {_describe_type(key, value)} to {_describe_type(inner, value)}"
        case _:
            return "a mapping of names to values"


def _format_value(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str() | Mapping() | list():
            return _REPR.repr(value)
        case _:
            return str(value)[:60]


def _hint(value: Any, info: inspect.Type, *, in_file: bool) -> str:
    for member in _members(info):
        match member:
            case inspect.IntType(ge=int() as low, le=int() as high):
                if isinstance(value, int) and not isinstance(value, bool):
                    return f"the nearest allowed value is {min(max(value, low), high)}"
                if in_file and isinstance(value, str) and _INTEGER.fullmatch(value):
                    return "write the number without quotes"
            case inspect.LiteralType(values=values) if isinstance(value, str):
                close = difflib.get_close_matches(value.lower(), [str(v) for v in values], n=1)
                return f"did you mean {close[0]}?" if close else f"write {_describe_type(member, value)}"
            case inspect.StrType() if value is None:
                return "give it a value, or remove the line"
            case inspect.StrType() if in_file and not isinstance(value, str | list | Mapping):
                return "put the value in quotes"
    return f"write {_describe_type(info, value)}"
