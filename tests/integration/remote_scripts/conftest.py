"""The Pythons that run the programs of the host."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit import local_scripts as here


@pytest.fixture(scope="session")
def system_environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with Jupyter and the system's Python."""
    if not here.SYSTEM_PYTHON.exists():
        pytest.skip(f"needs {here.SYSTEM_PYTHON}")
    if here.SYSTEM_PYTHON.resolve().name != here.VERSION:
        pytest.skip(f"needs {here.SYSTEM_PYTHON} to be {here.VERSION}, which the packages are installed for")
    prefix = tmp_path_factory.mktemp("system") / "environment"
    here.make_environment(prefix, here.SYSTEM_PYTHON)
    return prefix


@pytest.fixture(scope="module", params=here.HOST_PYTHONS)
def host_environment(request: pytest.FixtureRequest) -> Iterator[Path]:
    """The environment that `here` runs programs in: with the tests' own Python, then with the system's."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "system":
            patch.setattr(here, "ENVIRONMENT", request.getfixturevalue("system_environment"))
        yield here.ENVIRONMENT
