"""Settings are changed in a file; in a YAML file, everything else is kept byte for byte."""

import pytest
import yaml

from notebooks_over_ssh.config.edit import edit_json, edit_yaml
from notebooks_over_ssh.errors import ConfigError

CHANGES = {"gateway": "g.example", "user": "me", "notebook.host": "pool", "notebook.directory": "~/a b"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "gateway: g.example\nuser: me\nnotebook: {host: pool, directory: ~/a b}\n"),
        (
            "# only this",
            "# only this\ngateway: g.example\nuser: me\nnotebook: {host: pool, directory: ~/a b}\n",
        ),
        (
            "# mine\ngateway: old  # a\n\nnotebook:\n  # b\n  nice: 12\n  host: 'x'\n",
            (
                "# mine\nuser: me\ngateway: g.example  # a\n\n"
                "notebook:\n  # b\n  directory: ~/a b\n  nice: 12\n  host: pool\n"
            ),
        ),
        (
            "notebook: {nice: 12} # a\nuser: you",
            "gateway: g.example\nnotebook: {host: pool, directory: ~/a b, nice: 12} # a\nuser: me",
        ),
        ("notebook:\nuser:\n", "gateway: g.example\nnotebook: {host: pool, directory: ~/a b}\nuser: me\n"),
        (
            "notebook: {} # a\r\nuser: you\r\n",
            "gateway: g.example\r\nnotebook: {host: pool, directory: ~/a b} # a\r\nuser: me\r\n",
        ),
        (
            "\ufeffuser: \U0001f600\n",
            "\ufeffgateway: g.example\nnotebook: {host: pool, directory: ~/a b}\nuser: me\n",
        ),
        (
            '{"user": "you", "notebook": {}}',
            '{gateway: g.example, "user": me, "notebook": {host: pool, directory: ~/a b}}',
        ),
    ],
    ids=["empty", "comment", "block", "flow", "without value", "CRLF", "BOM", "JSON"],
)
def test_kept(before: str, after: str) -> None:
    """The settings are changed in place, or put first; comments, order, quotes and line ends stay."""
    assert edit_yaml(before.encode(), CHANGES, "f") == after.encode()
    assert edit_yaml(after.encode(), CHANGES, "f") == after.encode()


@pytest.mark.parametrize(
    "value", ["a: b", "# x", "- a", "{a", "yes", "12", "'", '"', "null", "a, b", "ü", "~", None]
)
def test_any_value(value: str | None) -> None:
    """A value is read back as it was given, in a block and in a flow mapping."""
    for before in (b"", b"user: x\n", b"{user: x}"):
        assert yaml.safe_load(edit_yaml(before, {"user": value}, "f"))["user"] == value


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", '{\n  "user": "ü"\n}\n'),
        ('\ufeff{\t"b": [1.5], "user": null}', '{\n  "b": [\n    1.5\n  ],\n  "user": "ü"\n}\n'),
        (r'{"\ud83d\ude00": "\ud800"}', '{\n  "\U0001f600": "\\ud800",\n  "user": "ü"\n}\n'),
    ],
    ids=["empty", "tab", "lone surrogate"],
)
def test_json(before: str, after: str) -> None:
    """In a JSON file the settings are changed in their order, and any text stays the same."""
    assert edit_json(before.encode(), {"user": "ü"}, "f") == after.encode()


@pytest.mark.parametrize(
    "before", ["user: &a x\ngateway: *a\n", "notebook: &n {nice: 12}\nother: *n\n", "user: |\n  x\nport: 1\n"]
)
def test_refused(before: str) -> None:
    """A file in which the change would change anything else is refused by name, with what to set."""
    with pytest.raises(ConfigError, match=r"f has a form") as caught:
        edit_yaml(before.encode(), {"user": "me", "notebook.host": "pool"}, "f")
    assert "user, notebook.host" in caught.value.hint


def test_invalid() -> None:
    """A file that is no YAML is refused by name and line."""
    with pytest.raises(ConfigError, match="f, line 2: invalid YAML"):
        edit_yaml(b"user: [\n", {"user": "me"}, "f")
