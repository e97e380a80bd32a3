"""The error of a background tunnel, as the waiting command raises it."""

import pytest

from notebooks_over_ssh.errors import UserError
from notebooks_over_ssh.ssh import gssapi_context
from notebooks_over_ssh.tunnel.background_process import ERRORS


@pytest.mark.parametrize("error", [*UserError.__subclasses__(), gssapi_context.GSSAPIError])
def test_every_exit_code(error: type[UserError]) -> None:
    """Each exit code has an error that takes what the background process reports, whatever else is imported."""
    raised = ERRORS[error.exit_code]("message", hint="hint", detail=("line",), source="host")
    assert (str(raised), raised.exit_code) == ("message", error.exit_code)
