# Enters the environment that the notebook server lives in, then gives what is left of standard input to its Python.
#
# Standard input, a line each: a marker that begins every answer; the environment's name or path; a command of the
# user's own that prepares the environment in place of it; the request that the Python below runs. What comes after that
# is for the program in it.
# With neither an environment nor a command, any Python will do: the one that started the server, or the system's.

IFS= read -r marker
IFS= read -r environment
IFS= read -r activate

refuse() { # reason, then what was found instead on standard input
    printf '\n%s %s\n' "$marker" "$1"
    cat
    exit 0
}

# The folders in which Conda, Mamba and Micromamba keep environments. ~/.conda/environments.txt lists those made elsewhere.
prefixes() {
    for root in "${CONDA_EXE:+${CONDA_EXE%/*/*}}" "${MAMBA_ROOT_PREFIX:-}" \
        "$HOME/miniconda3" "$HOME/miniforge3" "$HOME/mambaforge" "$HOME/anaconda3" "$HOME/micromamba" \
        "$HOME/.local/share/mamba" "$HOME/.conda" /opt/conda /opt/miniconda3 /opt/miniforge3 /opt/anaconda3; do
        [ -n "$root" ] || continue
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
    done | sort -u
}

find_prefix() {
    case $environment in
    '~/'*) printf '%s\n' "$HOME/${environment#'~/'}" ;;
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
    eval "$activate" </dev/null >&2 || refuse activate-failed </dev/null
    python=$(command -v python || command -v python3) || refuse python-missing </dev/null
elif [ -n "$environment" ]; then
    prefix=$(find_prefix)
    [ -n "$prefix" ] && [ -x "$prefix/bin/python" ] || { names | refuse environment-missing; exit 0; }
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
    python=$HOME/.local/state/notebooks-over-ssh/$(uname -n)/python
    [ -x "$python" ] || python=$(command -v python3 || command -v python) || refuse python-missing </dev/null
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
sys.modules["host"].MARKER = request["marker"]
try:
    module.main(request["parameters"])
except OSError as error:
    sys.modules["host"].answer(problem="not-written", reason=str(error))
'
