# Enters the environment that the notebook server lives in, then gives what is left of standard input to its Python.
#
# Standard input, a line each: a marker that begins every answer; the environment's name or path; a command of the
# user's own that prepares the environment in place of it; the request that the Python below runs. What comes after that
# is for the program in it.
# With neither an environment nor a command, any Python will do: the one that started the server, or the system's.

IFS= read -r marker
IFS= read -r environment
IFS= read -r activate
case $environment in
'~/'* | '$HOME/'* | '${HOME}/'*) environment=$HOME/${environment#*/} ;;
esac

refuse() { # reason, then what was found, a line each
    printf '\n%s' "$marker "
    printf '%s\n' "$@"
    exit 0
}

# The folders in which Conda, Mamba and Micromamba keep environments. ~/.conda/environments.txt lists those made elsewhere.
roots() {
    for root in "${CONDA_EXE:+${CONDA_EXE%/*/*}}" "${MAMBA_ROOT_PREFIX:-}" \
        "$HOME/miniconda3" "$HOME/miniforge3" "$HOME/mambaforge" "$HOME/anaconda3" "$HOME/micromamba" \
        "$HOME/.local/share/mamba" "$HOME/.conda" /opt/conda /opt/miniconda3 /opt/miniforge3 /opt/anaconda3; do
        [ -z "$root" ] || printf '%s\n' "$root"
    done
}

prefixes() {
    roots | while IFS= read -r root; do
        for prefix in "$root" "$root"/envs/*; do
            [ ! -x "$prefix/bin/python" ] || printf '%s\n' "$prefix"
        done
    done
    [ ! -r "$HOME/.conda/environments.txt" ] || while IFS= read -r prefix || [ -n "$prefix" ]; do
        [ ! -x "$prefix/bin/python" ] || printf '%s\n' "$prefix"
    done <"$HOME/.conda/environments.txt"
}

names() {
    prefixes | while IFS= read -r prefix; do
        case $prefix in
        */envs/*) printf '%s\n' "${prefix##*/}" ;;
        *) [ ! -d "$prefix/conda-meta" ] || [ ! -d "$prefix/envs" ] || printf 'base\n' ;;
        esac
    done
}

# The first file or folder on the way to an environment's Python that this account has no permission to enter or run.
closed() { # the environment's folder
    place=$1/bin/python
    while [ -n "$place" ] && [ ! -e "$place" ]; do place=${place%/*}; done
    [ -x "${place:-/}" ] || printf '%s\n' "$place"
}

# Where an environment may be that no Python was found in: by its path, or by its name in one of Conda's folders.
candidates() {
    case $environment in
    /*) printf '%s\n' "$environment" ;;
    */*) ;;
    *) roots | while IFS= read -r root; do
        [ ! -e "$root/envs/$environment" ] || printf '%s\n' "$root/envs/$environment"
    done ;;
    esac
}

find_prefix() {
    case $environment in
    */*) printf '%s\n' "$environment" ;;
    base) prefixes | while IFS= read -r prefix; do
        [ ! -d "$prefix/envs" ] || { printf '%s\n' "$prefix" && break; }
    done ;;
    *) prefixes | while IFS= read -r prefix; do
        [ "${prefix##*/envs/}" != "$environment" ] || { printf '%s\n' "$prefix" && break; }
    done ;;
    esac
}

if [ -n "$activate" ]; then
    eval "$activate" </dev/null >&2 || refuse activate-failed
    python=$(command -v python || command -v python3) || refuse python-missing
elif [ -n "$environment" ]; then
    prefix=$(find_prefix)
    if [ -z "$prefix" ] || [ ! -x "$prefix/bin/python" ]; then
        closed=$(candidates | while IFS= read -r candidate; do closed "$candidate"; done)
        [ -z "$closed" ] || refuse environment-closed "$closed"
        refuse environment-missing "$(names)"
    fi
    PATH=$prefix/bin:$PATH
    export PATH
    unset PYTHONHOME
    # What `conda activate` does: https://docs.conda.io/projects/conda/en/stable/dev-guide/deep-dives/activation.html
    if [ -d "$prefix/conda-meta" ]; then
        CONDA_PREFIX=$prefix CONDA_DEFAULT_ENV=${prefix##*/} CONDA_SHLVL=1
        export CONDA_PREFIX CONDA_DEFAULT_ENV CONDA_SHLVL
        for hook in "$prefix"/etc/conda/activate.d/*.sh; do
            [ ! -r "$hook" ] || . "$hook" </dev/null >&2
        done
    else
        VIRTUAL_ENV=$prefix
        export VIRTUAL_ENV
    fi
    python=$prefix/bin/python
else
    own_name=$(uname -n 2>/dev/null) || IFS= read -r own_name </proc/sys/kernel/hostname
    python=$HOME/.local/state/notebooks-over-ssh/$own_name/python
    [ -x "$python" ] || python=$(command -v python3 || command -v python) || refuse python-missing
fi

# The folder that the shell stands in must not come before the standard library.
# Names of files come as UTF-8, whatever the locale of the login is.
exec "$python" -X utf8 -c '
import sys
sys.path[:] = [place for place in sys.path if place]
import json, types
request = json.loads(sys.stdin.buffer.readline().decode("utf-8"))
for name, text in request["modules"]:
    module = types.ModuleType(name)
    sys.modules[name] = module
    exec(compile(text, name + ".py", "exec"), module.__dict__)
sys.modules["common"].MARKER = request["marker"]
try:
    module.main(request["parameters"])
except OSError as error:
    sys.modules["common"].reply_error(error)
'
