"""The command with which every program of `remote_scripts/` is started on the host."""

# `read` is a built-in and reads no byte beyond the line (POSIX.1-2017, read), so the rest of the input is left to the
# script. The command has no "!", which csh expands within quotes, and no newline, which csh does not allow there.
BOOTSTRAP = (
    'exec /bin/sh -c \'n=$(printf "\\nx"); n=${n%x}; s=;'
    ' while IFS= read -r l && [ "$l" != "#end" ]; do s=$s$l$n; done; eval "$s"\''
)
END_OF_SCRIPT = "#end"
