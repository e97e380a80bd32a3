"""The fixtures of the toolkit, for every test."""

import pytest

# Before they are imported, so that their assertions tell what they compared.
pytest.register_assert_rewrite("tests.kit")

pytest_plugins = (
    "tests.kit.leaks",
    "tests.kit.fixtures",
    "tests.kit.forwarding",
    "tests.kit.markers",
    "tests.kit.nested_transports",
    "tests.kit.pam_codes",
    "tests.kit.remote_modules",
    "tests.kit.trust_user",
    "tests.kit.users",
)
