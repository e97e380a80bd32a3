"""The private members of Paramiko, Fabric and Invoke that the code relies on: each is listed, and exists."""

import ast
import importlib
import inspect
import re
from functools import cache
from pathlib import Path
from typing import Any

import fabric
import paramiko
import pytest
from paramiko.auth_handler import AuthOnlyHandler
from paramiko.kex_gex import KexGexSHA256
from paramiko.packet import Packetizer

import notebooks_over_ssh

LIBRARIES = ("paramiko", "fabric", "invoke")
PACKAGE = Path(notebooks_over_ssh.__file__).parent
RELIED_ON: dict[type, tuple[str, ...]] = {
    fabric.Connection: ("_set",),
    fabric.Config: ("_collection", "_overrides", "_project_prefix", "_runtime_path", "_runtime_ssh_path"),
    paramiko.Transport: (
        "_channel_handler_table",
        "_channels",
        "_cipher_info",
        "_expected_packet",
        "_handler_table",
        "_next_channel",
        "_parse_disconnect",
        "_parse_kex_init",
        "_parse_newkeys",
        "_preferred_compression",
        "_really_parse_kex_init",
        "_send_kex_init",
        "_send_message",
        "_send_user_message",
    ),
    paramiko.Channel: ("_set_remote_channel", "_set_window", "_unlink"),
    KexGexSHA256: ("_parse_kexdh_gex_group",),
    AuthOnlyHandler: (
        "_client_handler_table",
        "_finalize_pubkey_algorithm",
        "_get_key_type_and_bits",
        "_parse_userauth_banner",
        "_parse_userauth_info_request",
    ),
    paramiko.PKey: ("_read_private_key_openssh",),
    Packetizer: ("_check_keepalive", "_initial_kex_done", "_trigger_rekey"),
}
NAMED = {name for names in RELIED_ON.values() for name in names}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name != "_"


def source_of(owner: type) -> str:
    """The source of the class and of its base classes in the libraries."""
    bases = [base for base in owner.__mro__ if base.__module__.partition(".")[0] in LIBRARIES]
    return "".join(source(base) for base in bases)


@cache
def source(owner: Any) -> str:
    return inspect.getsource(owner)


@cache
def modules() -> dict[str, ast.Module]:
    """The syntax tree of each module that runs here, by name; those of `remote_scripts` and `static` run on a host."""
    paths = [path.relative_to(PACKAGE.parent) for path in sorted(PACKAGE.rglob("*.py"))]
    return {
        ".".join(path.with_suffix("").parts).removesuffix(".__init__"): ast.parse(
            (PACKAGE.parent / path).read_text()
        )
        for path in paths
        if not {"remote_scripts", "static"} & set(path.parts)
    }


def foreign_members() -> dict[str, str]:
    """Every private name that is used and that no module here defines, with a module that uses it."""
    looked_up: dict[str, str] = {}
    defined: set[str] = set()
    for module, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and is_private(node.attr):
                is_own = isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self"
                if is_own:
                    defined.add(node.attr)
                else:
                    looked_up[node.attr] = module
            elif isinstance(node, ast.Call) and ast.unparse(node.func) == "getattr":
                name = node.args[1]
                if isinstance(name, ast.Constant) and is_private(str(name.value)):
                    looked_up[str(name.value)] = module
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                defined.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                defined.add(node.id)
    return {name: module for name, module in looked_up.items() if name not in defined}


def shared_with_base_classes() -> dict[str, str]:
    """Every private name in a class of ours that a base class in the libraries has too, with our class."""
    shared: dict[str, str] = {}
    for name, tree in modules().items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.ClassDef) or not node.bases:
                continue
            ours = getattr(importlib.import_module(name), node.name, None)
            if not inspect.isclass(ours) or not (below := source_of(ours)):
                continue
            for member in re.findall(r"\b(?:self\.|super\(\)\.|def )(_[a-zA-Z]\w*)", ast.unparse(node)):
                if re.search(rf"\b{member}\b", below):
                    shared[member] = ours.__qualname__
    return shared


@pytest.mark.parametrize(
    ("owner", "name"),
    [(owner, name) for owner, names in RELIED_ON.items() for name in names],
    ids=[
        f"{owner.__module__}.{owner.__name__}.{name}" for owner, names in RELIED_ON.items() for name in names
    ],
)
def test_exists(owner: type, name: str) -> None:
    """The installed library has the member."""
    assert re.search(rf"\b{name}\b", source_of(owner)), f"{owner.__qualname__} has no {name} any more"


def test_list_is_complete() -> None:
    """The table has exactly the private members that the modules rely on."""
    relied_on = foreign_members() | shared_with_base_classes()
    of_the_standard_library = {"_context"}  # http.client.HTTPSConnection
    assert set(relied_on) - of_the_standard_library == NAMED, relied_on
