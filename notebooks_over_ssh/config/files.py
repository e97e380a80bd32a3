"""Reads configuration files, in YAML or JSON, and rejects duplicate keys."""

import json
import os
from collections.abc import Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from notebooks_over_ssh.errors import ConfigError

if TYPE_CHECKING:
    import yaml

# Invoke's order (_file_suffixes in invoke/config.py), without `.py`, which would run code.
SUFFIXES = (".yaml", ".yml", ".json")


class _DuplicateKey(Exception):
    """A mapping has a key twice; `line` is that of the second, None if unknown."""

    def __init__(self, key: str, line: int | None) -> None:
        super().__init__(key)
        self.key = key
        self.line = line


def find_config_file(stem: Path) -> Path:
    """The first of `stem`.yaml, .yml and .json that exists; `stem`.yaml if none does."""
    candidates = [stem.with_name(stem.name + suffix) for suffix in SUFFIXES]
    return next((path for path in candidates if os.path.isfile(path)), candidates[0])


def read_mapping(path: Path, name: str) -> dict[Any, Any] | None:
    """The mapping in the file, empty if the file is; None if there is no file.

    `name` is the file's name in messages. Raises ConfigError if the file cannot be read, or is not a mapping.
    """
    if path.is_dir():
        raise ConfigError(f"{name} cannot be read: it is a folder", hint="use a YAML or JSON file")
    if path.suffix not in SUFFIXES:
        raise ConfigError(
            f"{name} is not a YAML or JSON file", hint="use a file whose name ends in .yaml, .yml or .json"
        )
    content = _content(path, name)
    return None if content is None else parse_mapping(content, path.suffix, name)


def parse_mapping(file_content: bytes, suffix: str, name: str) -> dict[Any, Any]:
    """The mapping in the content of a file that ends in `suffix`, empty if the content is.

    `name` is the file's name in messages. Raises ConfigError.
    """
    text = _decode(file_content, name)
    try:
        content = _json(text) if suffix == ".json" else _yaml(text, name)
    except _DuplicateKey as duplicate:
        raise ConfigError(
            f"{duplicate.key} is set twice in {_location(name, duplicate.line)}", hint="keep one of the two"
        ) from None
    except json.JSONDecodeError as error:
        raise _malformed(name, "JSON", error.lineno, error.msg) from None
    except RecursionError:
        raise ConfigError(f"{name} is nested too deeply", hint="use the format of invoke.yaml") from None
    except ValueError as error:
        raise ConfigError(f"{name} has an invalid value: {error}", hint="put the value in quotes") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        kind = "a list" if isinstance(content, list) else "a single value"
        raise ConfigError(
            f"{name} must be a mapping of names to values, not {kind}",
            hint="write one setting per line, such as gateway: sandbox",
        )
    return content


def parse_value(text: str) -> Any:
    """Parse a YAML value, such as `[a, b]`. Raises ValueError."""
    import yaml

    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(str(error)) from None


def _content(path: Path, name: str) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):  # the latter with HOME=/dev/null
        return None
    except OSError as error:
        raise ConfigError(
            f"{name} cannot be read: {error.strerror or error}",
            hint="make it readable, or move it away",
        ) from None


def _decode(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{name} is not UTF-8: byte {error.start} is {error.object[error.start]:#04x}",
            hint="save the file again as UTF-8",
        ) from None


def _json(text: str) -> Any:
    def reject_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key, value in pairs:
            if key in mapping:
                raise _DuplicateKey(key, None)
            mapping[key] = value
        return mapping

    return json.loads(text, object_pairs_hook=reject_duplicates) if text.strip() else None


def _yaml(text: str, name: str) -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """PyYAML's safe loader, which keeps the last of two equal keys, with an error for them."""

        def construct_mapping(self, node: "yaml.MappingNode", deep: bool = False) -> dict[Hashable, Any]:
            seen: set[tuple[str, str]] = set()
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode):
                    if (key.tag, key.value) in seen:
                        raise _DuplicateKey(key.value, key.start_mark.line + 1)
                    seen.add((key.tag, key.value))
            return super().construct_mapping(node, deep=deep)

    try:
        return yaml.load(text, Loader)  # noqa: S506 # it is a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = None if mark is None else mark.line + 1
        raise _malformed(name, "YAML", line, error.problem or "syntax error") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _malformed(name, "YAML", line, "unprintable character") from None


def _malformed(name: str, language: str, line: int | None, problem: str) -> ConfigError:
    return ConfigError(
        f"{_location(name, line)}: invalid {language}: {problem[:1].lower()}{problem[1:]}",
        hint="check the indentation, colons and quotes in that line and the one above",
    )


def _location(name: str, line: int | None) -> str:
    return name if line is None else f"{name}, line {line}"
