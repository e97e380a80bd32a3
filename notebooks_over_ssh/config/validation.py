"""One layer of settings against the structs that describe them, with messages that a person can act on.

msgspec decides whether a value is right, so that the structs are the one place where ranges are written; its
own messages name neither the file nor what was given, so the words are made here from the same types.
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
from notebooks_over_ssh.errors import BadSetting

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)
_BOOLEANS = {
    "1": True, "true": True, "yes": True, "on": True,
    "0": False, "false": False, "no": False, "off": False,
}  # fmt: skip
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60
_NOTHING = frozenset({"", "none", "null", "~"})


def known_settings(schema: type[msgspec.Struct]) -> dict[str, Any]:
    """Every path of `schema` that holds a value, as in `notebook.nice`, with its type."""
    found: dict[str, Any] = {}
    for field in msgspec.structs.fields(schema):
        if _is_section(field.type):
            inner = known_settings(field.type)
            found |= {f"{field.encode_name}.{path}": type_ for path, type_ in inner.items()}
        else:
            found[field.encode_name] = field.type
    return found


def check_mapping(said: Mapping[Any, Any], schema: type[msgspec.Struct], source: str) -> dict[str, Any]:
    """The settings in `said` by path, each of the type that `schema` gives it. Raises BadSetting.

    `source` is how messages call where they were found: a file, or the command line.
    """
    known = known_settings(schema)
    checked: dict[str, Any] = {}
    for path, value in _flat(said, schema, source, known, prefix=""):
        checked[path] = check_value(value, known[path], f"{path} in {source}", in_file=True)
    return checked


def check_value(value: Any, type_: Any, name: str, *, in_file: bool = False) -> Any:
    """`value` if it is of `type_`; `name` is how messages call it. Raises BadSetting."""
    try:
        return msgspec.convert(value, type_, strict=True)
    except (msgspec.ValidationError, RecursionError):
        info = inspect.type_info(type_)
        raise BadSetting(
            f"{name} must be {_words(info, value)}, not {_shown(value)}",
            hint=_remedy(value, info, in_file=in_file),
        ) from None


def value_of_text(text: str, type_: Any) -> Any:
    """The value that `text`, of a flag or a variable, means for a setting of `type_`; else `text` itself."""
    members = _members(inspect.type_info(type_))
    if any(isinstance(member, inspect.NoneType) for member in members) and text.lower() in _NOTHING:
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


def nearest(path: str, known: Iterable[str]) -> str | None:
    """The known path that was most likely meant by `path`, or None.

    A near spelling in the same section wins over the same name elsewhere, and that over a near spelling
    there.
    """
    section, _, last = path.rpartition(".")
    names = {candidate.rpartition(".")[2]: candidate for candidate in reversed(list(known))}
    beside = {name: candidate for name, candidate in names.items() if candidate.rpartition(".")[0] == section}
    # 0.55 is low enough for notebook.port to mean notebook.local_port.
    if section and (close := difflib.get_close_matches(last, beside, n=1, cutoff=0.55)):
        return beside[close[0]]
    close = [last] if last in names else difflib.get_close_matches(last, names, n=1, cutoff=0.7)
    return names[close[0]] if close else None


def _flat(
    said: Mapping[Any, Any], schema: type[msgspec.Struct], source: str, known: Mapping[str, Any], prefix: str
) -> list[tuple[str, Any]]:
    fields = {field.encode_name: field.type for field in msgspec.structs.fields(schema)}
    found: list[tuple[str, Any]] = []
    for key, value in said.items():
        path = f"{prefix}{_shown(key) if not isinstance(key, str) else key}"
        if path in NOT_SUPPORTED:
            _refuse_unsupported(path, value, source)
            continue
        if not isinstance(key, str) or key not in fields:
            raise BadSetting(f"unknown setting {path} in {source}", hint=_guess(path, prefix, fields, known))
        if not _is_section(fields[key]):
            found.append((path, value))
        elif isinstance(value, Mapping):
            found += _flat(value, fields[key], source, known, prefix=f"{path}.")
        elif value is not None:  # a heading with nothing below it sets nothing
            kind = "a list" if isinstance(value, list) else "one value"
            raise BadSetting(
                f"{path} in {source} must be a mapping of names to values, not {kind}",
                hint=f"write its settings below it, indented, as in {_example(path, known)}",
            )
    return found


def _refuse_unsupported(path: str, value: Any, source: str) -> None:
    default, hint = NOT_SUPPORTED[path]
    if value is not default:
        raise BadSetting(f"{path} in {source} is not supported", hint=hint)


def _guess(path: str, prefix: str, fields: Iterable[str], known: Iterable[str]) -> str:
    everything = [*(f"{prefix}{field}" for field in fields), *known]
    if meant := nearest(path, everything):
        return f"did you mean {meant}?"
    return f"the settings {f'under {prefix[:-1]}' if prefix else 'there'} are {', '.join(fields)}"


def _example(path: str, known: Mapping[str, Any]) -> str:
    return next(candidate for candidate in known if candidate.startswith(f"{path}."))


def _is_section(type_: Any) -> bool:
    return get_origin(type_) is None and isinstance(type_, type) and issubclass(type_, msgspec.Struct)


def _members(info: inspect.Type) -> tuple[inspect.Type, ...]:
    return info.types if isinstance(info, inspect.UnionType) else (info,)


def _is_list_of_numbers(info: inspect.Type) -> bool:
    return isinstance(info, inspect.ListType) and isinstance(info.item_type, inspect.IntType)


def _words(info: inspect.Type, value: Any) -> str:
    match info:
        case inspect.UnionType(types=types):
            return " or ".join(_words(t, value) for t in types if not isinstance(t, inspect.NoneType))
        case inspect.IntType(ge=int() as low, le=int() as high):
            return f"a whole number from {low} to {high}"
        case inspect.BoolType():
            return "true or false"
        case inspect.LiteralType(values=values):
            *names, last = (str(name) for name in values)
            return f"{', '.join(names)} or {last}"
        case inspect.StrType():
            wrong_inside = isinstance(value, str) and value
            return "one line of text without control characters" if wrong_inside else "text"
        case inspect.ListType(item_type=inspect.IntType() as item):
            return f"a list, each of its members {_words(item, value)}"
        case inspect.ListType():
            return "a list of texts"
        case inspect.DictType(key_type=inspect.LiteralType() as key, value_type=inner):
            return f"a mapping from {_words(key, value)} to {_words(inner, value)}"
        case _:
            return "a mapping of names to values"


def _shown(value: Any) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case "":
            return "empty"
        case str() | Mapping() | list():
            return _SHORT.repr(value)
        case _:
            return str(value)[:60]


def _remedy(value: Any, info: inspect.Type, *, in_file: bool) -> str:
    for member in _members(info):
        match member:
            case inspect.IntType(ge=int() as low, le=int() as high):
                if isinstance(value, int) and not isinstance(value, bool):
                    return f"the nearest that is allowed is {min(max(value, low), high)}"
                if in_file and isinstance(value, str) and _INTEGER.fullmatch(value):
                    return "write the number without quotes"
            case inspect.LiteralType(values=values) if isinstance(value, str):
                close = difflib.get_close_matches(value.lower(), [str(v) for v in values], n=1)
                return f"did you mean {close[0]}?" if close else f"write {_words(member, value)}"
            case inspect.StrType() if value is None:
                return "give it a value, or remove the line"
            case inspect.StrType() if in_file and not isinstance(value, str | list | Mapping):
                return "put the value in quotes"
    return f"write {_words(info, value)}"
