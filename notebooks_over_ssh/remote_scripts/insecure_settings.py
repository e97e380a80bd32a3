"""Finds settings in Jupyter's configuration files that undo the protection of the server, and disables them.

Jupyter reads one file per application, in Python and in JSON, from several folders. The last value wins, and a value
that notebook_shim moves from NotebookApp or LabApp to ServerApp wins even over the command line. So every file is read.

Runs on the host, with whatever Python is there: nothing newer than 3.6, nothing outside the standard library.
"""

import ast
import errno
import json
import os
import re
import time
import tokenize

from common import private_folder, write_private
from jupyter_traits import TRAITS

FILE_NAME = re.compile(r"jupyter_(\w+_)?config\.(py|json)")
NON_LITERAL = object()  # a value that is computed when the file runs


def find_insecure(folders, expected):
    """Every insecure setting, as a dict of path, name and value. `expected` has the password, certfile and keyfile."""
    return [
        dict(path=path, name=name, value=redacted(name, value))
        for path in config_files(folders)
        for name, value, _ in read_settings(path)
        if is_insecure(name, value, expected)
    ]


def disable_settings(path, names, backup_dir):
    """Remove the settings of these names from the file, after a backup in the folder `backup_dir`; returns its path.

    Raises OSError, and SyntaxError if the result would not be valid Python; the file is unchanged then.
    """
    if path.endswith(".json"):
        text = remove_keys(path, names)
    else:
        text = remove_statements(path, names)
        compile(text, path, "exec")
    backup = back_up(path, backup_dir)
    if path.endswith(".py"):
        text += "# secure (notebooks-over-ssh) replaced insecure settings with `pass`;\n"
        text += "# backup of the file: %s\n" % backup
    write_private(path, text)
    return backup


def back_up(path, folder):
    """Copy the file to a new, private file in the folder, and return its path."""
    private_folder(folder)
    with open(path, "rb") as file:
        content = file.read()
    stem = os.path.join(folder, time.strftime("%Y-%m-%dT%H%M%SZ-", time.gmtime()))
    number = 1
    while True:
        copy = "%s%d-%s" % (stem, number, os.path.basename(path))
        try:
            descriptor = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise
            number += 1
            continue
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
        except BaseException:
            os.unlink(copy)
            raise
        return copy


def config_files(folders):
    """The configuration files in the folders, for every application."""
    result = []
    for folder in folders:
        try:
            names = sorted(os.listdir(folder))
        except OSError:
            continue
        paths = (os.path.join(folder, name) for name in names if FILE_NAME.fullmatch(name))
        result += [path for path in paths if os.path.isfile(path) and path not in result]
    return result


def is_insecure(name, value, expected):
    """Whether a setting, Class.trait, has a value that undoes the protection; `expected` as for `find_insecure`."""
    section, _, name = name.rpartition(".")
    trait = TRAITS.get(name)
    if trait is None or trait.safe is None or not re.fullmatch(trait.classes, section):
        return False
    return value != expected[trait.safe] if isinstance(trait.safe, str) else value not in trait.safe


def is_secret(name):
    """Whether the value of a setting, Class.trait, is a secret."""
    trait = TRAITS.get(name.rpartition(".")[2])
    return trait is not None and trait.is_secret


def redacted(name, value):
    """The value as text to show; "" if it is a secret, or is computed when the file runs."""
    return "" if is_secret(name) or value is NON_LITERAL else repr(value)[:60]


def read_settings(path):
    """(Class.name, value, position) of each setting in the file; none if Jupyter cannot read the file either."""
    try:
        if path.endswith(".json"):
            with open(path, encoding="utf-8") as file:
                config = json.load(file)
            return [
                ("%s.%s" % (section, name), value, None)
                for section, values in config.items()
                if isinstance(values, dict)
                for name, value in values.items()
            ]
        with tokenize.open(path) as file:
            return [
                (
                    statement[2].string + "." + statement[4].string,
                    literal_value(statement),
                    (statement[0].start, statement[-1].end),
                )
                for statement in statements(tokenize.generate_tokens(file.readline))
                if is_setting(statement)
            ]
    except (OSError, ValueError, SyntaxError, AttributeError, tokenize.TokenError):
        return []


def statements(tokens):
    """The simple statements of a Python file, each as the list of its tokens."""
    statement, depth = [], 0
    for token in tokens:
        if token.type in (tokenize.COMMENT, tokenize.NL, tokenize.INDENT, tokenize.DEDENT):
            continue
        if token.type == tokenize.OP:
            depth += (token.string in "([{") - (token.string in ")]}")
        # A colon ends the header of a compound statement, unless it is part of a value, as in a lambda.
        colon = token.string == ":" and not is_setting(statement)
        if token.type == tokenize.NEWLINE or (not depth and (token.string == ";" or colon)):
            yield statement
            statement = []
        else:
            statement.append(token)


def is_setting(statement):
    """Whether the statement is `c.Class.name = value`."""
    words = [token.string for token in statement[:7]]
    return len(words) == 7 and [words[i] for i in (0, 1, 3, 5)] == ["c", ".", ".", "="]


def literal_value(statement):
    try:
        return ast.literal_eval(" ".join(token.string for token in statement[6:]))
    except (ValueError, SyntaxError):
        return NON_LITERAL


def remove_keys(path, names):
    with open(path, encoding="utf-8") as file:
        config = json.load(file)
    for name in names:
        section, _, trait = name.rpartition(".")
        config.get(section, {}).pop(trait, None)
        if not config.get(section, True):
            del config[section]
    return json.dumps(config, indent=2, ensure_ascii=False) + "\n"


def remove_statements(path, names):
    with tokenize.open(path) as file:
        lines = file.read().splitlines(True)
    for name, _, (start, end) in reversed(read_settings(path)):
        if name in names:
            before, after = lines[start[0] - 1][: start[1]], lines[end[0] - 1][end[1] :]
            lines[start[0] - 1 : end[0]] = [before + "pass" + after]
    text = "".join(lines)
    return text if text.endswith("\n") or not text else text + "\n"
