"""The names of modules are passed to a shell on the host, so anything else is refused."""

import pytest

from notebooks_over_ssh.config.modules import MAX_LENGTH, check_modules
from notebooks_over_ssh.errors import ConfigError

NAME = "notebook.modules in invoke.yaml"


def test_names() -> None:
    """The names of Lmod's and Environment Modules' own conventions are accepted."""
    check_modules(
        ["cuda", "python/3.11", "GCC/12.3.0", "R-bundle-CRAN/2023.12-foss-2023a", "c++/1@x=y", ".hidden/1.0"],
        NAME,
    )


@pytest.mark.parametrize(
    "name",
    [
        *[
            "-f",
            "--help",
            "a b",
            "a;b",
            "$(id)",
            "`id`",
            "a*",
            "a?",
            "[ab]",
            "~",
            "~/a",
            "a\tb",
            "a'b",
            'a"b',
        ],
        *[
            "a/",
            "/a",
            "../a",
            "./a",
            "a//b",
            "a&b",
            "a|b",
            "a\\b",
            "a<b",
            "é",
            "a\n",
            "",
            "a" * (MAX_LENGTH + 1),
        ],
    ],
)
def test_other_text(name: str) -> None:
    """Options, paths and everything that a shell expands are refused, with the setting's name."""
    with pytest.raises(ConfigError) as problem:
        check_modules(["python/3.11", name], NAME)
    assert str(problem.value).startswith(f"{NAME} has {name[:10]!r}"[:-1])
    assert "module avail" in problem.value.hint
