"""The command with which every program of `remote_scripts/` is started on the host."""

# `read` is a built-in and reads no byte beyond the line (POSIX.1-2017, read), so the rest of the input is left to the
# script. The command has no "!", which csh expands within quotes, and no newline, which csh does not allow there.
_RUN_INPUT = (
    'n=$(printf "\\nx"); n=${n%x}; s=;'
    ' while IFS= read -r l && [ "$l" != "#end" ]; do s=$s$l$n; done; eval "$s"'
)
BOOTSTRAP = f"exec /bin/sh -c '{_RUN_INPUT}'"
IDENTITY_MARKER = "notebooks-over-ssh-host"
IDENTIFYING_BOOTSTRAP = (
    f"exec /bin/sh -c 'set -- $SSH_CONNECTION;"
    f' printf "\\n%s %s %s %s\\n" {IDENTITY_MARKER} "$(uname -n)" "$3" "$4"; set --; {_RUN_INPUT}\''
)
"""As BOOTSTRAP, but first print the marker, the host's name, and the address and port of its SSH server (ssh(1))."""
END_OF_SCRIPT = "#end"
BOOTSTRAP_SESSION = b"bootstrap-session@notebooks-over-ssh"
"""The channel type (RFC 4250, section 4.6.1) of a session for BOOTSTRAP alone, which may be running in it already."""
