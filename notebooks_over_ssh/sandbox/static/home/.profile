# ~/.profile: for login shells.
# /etc/profile may have reset PATH, so put the host's own `hostname` and `uname` first again.
PATH=$NOTEBOOKS_SANDBOX/hosts/$HOSTNAME/bin:$PATH
if [ -n "${BASH_VERSION-}" ] && [ -f "$HOME/.bashrc" ]; then
    . "$HOME/.bashrc"
fi
