"""Changes settings in a settings file. In YAML every comment, blank line and quotation mark is kept."""

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from notebooks_over_ssh.config.files import parse_mapping
from notebooks_over_ssh.errors import ConfigError

if TYPE_CHECKING:
    import yaml

_BOM = "\ufeff"


def edit_yaml(content: bytes, changes: Mapping[str, Any], name: str) -> bytes:
    """The content of a YAML file with these settings changed or added, each named as in `notebook.host`.

    `name` is the file's name in messages. Raises ConfigError if the content is invalid, or in a form that cannot be
    changed in place, such as one with anchors.
    """
    expected = _without_aliases(parse_mapping(content, ".yaml", name))
    text = content.decode()
    bom, text = text[: len(_BOM)] * text.startswith(_BOM), text.removeprefix(_BOM)
    _apply(changes, expected)
    # A setting that is not there yet is put first.
    for setting, value in reversed(list(changes.items())):
        text = _set(text, setting.split("."), value)
    edited = (bom + text).encode()
    if not _has_content(edited, expected):
        raise ConfigError(
            f"{name} has a form that cannot be changed automatically",
            hint=f"set {', '.join(changes)} there yourself",
        )
    return edited


def edit_json(content: bytes, changes: Mapping[str, Any], name: str) -> bytes:
    """The content of a JSON file with these settings changed or added, indented by two spaces. Raises ConfigError."""
    settings = parse_mapping(content, ".json", name)
    _apply(changes, settings)
    # UTF-8 cannot encode a lone surrogate, and Python's escape of one is that of JSON.
    return f"{json.dumps(settings, indent=2, ensure_ascii=False)}\n".encode(errors="backslashreplace")


def _apply(changes: Mapping[str, Any], settings: dict[Any, Any]) -> None:
    for setting, value in changes.items():
        *sections, key = setting.split(".")
        section = settings
        for name in sections:
            if section.get(name) is None:
                section[name] = {}
            section = section[name]
        section[key] = value


def _without_aliases(value: Any) -> Any:
    """A copy in which a change of one part changes no other."""
    if isinstance(value, dict):
        return {key: _without_aliases(inner) for key, inner in value.items()}
    return [_without_aliases(inner) for inner in value] if isinstance(value, list) else value


def _has_content(edited: bytes, expected: dict[Any, Any]) -> bool:
    try:
        return parse_mapping(edited, ".yaml", "") == expected
    except ConfigError:
        return False


def _set(text: str, path: list[str], value: Any) -> str:
    import yaml

    node = yaml.compose(text, yaml.SafeLoader)
    for depth, key in enumerate(path):
        if not isinstance(node, yaml.MappingNode) or not node.value:
            return _fill(text, node, _line(path[depth:], value))
        child = _find(node, key)
        if child is None:
            return _insert(text, node, _line(path[depth:], value))
        node = child
    assert node is not None  # for mypy: the path is not empty
    start, end = node.start_mark.index, node.end_mark.index
    space = "" if text[:start].endswith((" ", "\n")) else " "  # after a key without a value
    return text[:start] + space + _scalar(value) + text[end:]


def _find(mapping: "yaml.MappingNode", key: str) -> "yaml.Node | None":
    return next((value for node, value in mapping.value if node.value == key), None)


def _fill(text: str, node: "yaml.Node | None", line: str) -> str:
    """Put the setting into a file, or a section, that has none yet."""
    if node is None:
        return text + ("" if not text or text.endswith("\n") else "\n") + line + "\n"
    start, end = node.start_mark.index, node.end_mark.index
    space = "" if text[:start].endswith((" ", "\n")) else " "
    return f"{text[:start]}{space}{{{line}}}{text[end:]}"


def _insert(text: str, mapping: "yaml.MappingNode", line: str) -> str:
    """Put the setting before the first one of the mapping."""
    start = mapping.value[0][0].start_mark
    if mapping.flow_style:
        return f"{text[: start.index]}{line}, {text[start.index :]}"
    newline = "\r\n" if "\r\n" in text else "\n"
    return f"{text[: start.index]}{line}{newline}{' ' * start.column}{text[start.index :]}"


def _line(path: list[str], value: Any) -> str:
    line = f"{path[-1]}: {_scalar(value)}"
    for section in reversed(path[:-1]):
        line = f"{section}: {{{line}}}"
    return line


def _scalar(value: Any) -> str:
    """The value as in a flow sequence, where a text is quoted wherever it has to be."""
    import yaml

    text = yaml.safe_dump([value], default_flow_style=True, allow_unicode=True, width=1 << 20)
    return re.sub(r"\A\[|\]\n\Z", "", text)
