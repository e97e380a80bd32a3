# ~/.profile: read by login shells.
# /etc/profile may have set PATH anew, without the programs that know this host's name.
PATH=$NOTEBOOKS_SANDBOX/hosts/$HOSTNAME/bin:$PATH
if [ -n "${BASH_VERSION-}" ] && [ -f "$HOME/.bashrc" ]; then
    . "$HOME/.bashrc"
fi
