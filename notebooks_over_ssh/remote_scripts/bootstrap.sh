# Activates the environment of the notebook server, then runs its Python with the rest of standard input.
#
# Standard input has one line each for: the marker that begins every reply; the name or path of the environment; a shell
# command that activates the environment instead; the request, as JSON, for the Python code below. The program in the
# request reads the rest.
# Without an environment and a command, any Python will do: the one that started the server, else that of the system.

IFS= read -r marker
IFS= read -r environment
IFS= read -r activate
case $environment in
'~/'* | '$HOME/'* | '${HOME}/'*) environment=$HOME/${environment#*/} ;;
esac

refuse() { # problem, then the alternatives, one per line
    printf '\n%s' "$marker "
    printf '%s\n' "$@"
    exit 0
}

# The installation folders of Conda, Mamba and Micromamba. ~/.conda/environments.txt lists environments elsewhere.
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

# The first file or folder in the path of an environment's Python that this account has no permission to enter or run.
find_inaccessible() { # the environment's folder
    component=$1/bin/python
    while [ -n "$component" ] && [ ! -e "$component" ]; do component=${component%/*}; done
    [ -x "${component:-/}" ] || printf '%s\n' "$component"
}

# The folders that may be the environment although no Python was found there: its path, or its name below a root.
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
        inaccessible=$(candidates | while IFS= read -r candidate; do find_inaccessible "$candidate"; done)
        [ -z "$inaccessible" ] || refuse environment-inaccessible "$inaccessible"
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

# The working directory must not precede the standard library in sys.path.
# File names are UTF-8, whatever the locale of the login is.
exec "$python" -X utf8 -c '
import sys
sys.path[:] = [entry for entry in sys.path if entry]
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
