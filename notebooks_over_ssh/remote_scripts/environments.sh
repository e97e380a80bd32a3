# Finds the environments of this account. Sent before the scripts that use it.
#
# They set `environment`, the environment that is looked for, and `directory`, the folder of its project.

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
        */envs/uv | */envs/poetry | */envs/modules) printf '%s\n' "$prefix" ;; # these names have another meaning
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
# `prefix` is that of a project.
candidates() {
    case $environment in
    uv | poetry) printf '%s\n' "$prefix" ;;
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

# A path with `~` or `$HOME` in place of the home folder.
expand() {
    case $1 in
    '~' | '$HOME' | '${HOME}') printf '%s\n' "$HOME" ;;
    '~/'* | '$HOME/'* | '${HOME}/'*) printf '%s\n' "$HOME/${1#*/}" ;;
    *) printf '%s\n' "$1" ;;
    esac
}

# A folder and those above it, the nearest first.
with_parents() {
    folder=$1
    while [ -n "$folder" ]; do
        printf '%s\n' "$folder"
        folder=${folder%/*}
    done
}

# The nearest folder with a pyproject.toml, at `directory` or above.
find_project() {
    project=$(folder=$(expand "$directory") && CDPATH='' cd -- "$folder" 2>/dev/null && pwd -P) &&
        with_parents "$project" | {
            while IFS= read -r folder; do
                [ ! -e "$folder/pyproject.toml" ] || { printf '%s\n' "$folder" && exit; }
            done
            exit 1
        }
}

is_workspace() { # the folder of a project
    [ -r "$1/pyproject.toml" ] && while IFS= read -r line || [ -n "$line" ]; do
        case $line in '[tool.uv.workspace]'*) return 0 ;; esac
    done <"$1/pyproject.toml"
    return 1
}

# uv's rule: the members of a workspace share the environment of its root.
# https://docs.astral.sh/uv/concepts/projects/config/#project-environment-path
find_uv_environment() { # the folder of a project
    root=$(with_parents "$1" | while IFS= read -r folder; do
        ! is_workspace "$folder" || { printf '%s\n' "$folder" && break; }
    done)
    case ${UV_PROJECT_ENVIRONMENT:=.venv} in
    /*) printf '%s\n' "$UV_PROJECT_ENVIRONMENT" ;;
    *) printf '%s\n' "${root:-$1}/$UV_PROJECT_ENVIRONMENT" ;;
    esac
}

# The path of poetry, which its installer and pipx put where the PATH of a command over SSH may not lead.
find_poetry() {
    command -v poetry || command -v "${POETRY_HOME:-$HOME/.local}/bin/poetry" || command -v "$HOME/.local/bin/poetry"
}

# Poetry's settings and the project's name determine the path, so poetry itself is asked.
# It would prefer an environment that is already active.
find_poetry_environment() { # the folder of a project
    (
        CDPATH='' cd -- "$1" || exit
        unset VIRTUAL_ENV CONDA_PREFIX
        "$(find_poetry)" --no-interaction --no-ansi env info --path </dev/null
    )
}

# Defines `module`, as the start-up files of a login shell do: in /etc/profile.d, or where a variable of theirs says.
# Lmod sets LMOD_PKG, and both Lmod and Environment Modules set MODULESHOME.
define_module() {
    for file in "${LMOD_PKG:+$LMOD_PKG/init/sh}" "${MODULESHOME:+$MODULESHOME/init/sh}" \
        /etc/profile.d/*lmod*.sh /etc/profile.d/*modules*.sh; do
        ! command -v module >/dev/null || return 0
        [ ! -r "$file" ] || . "$file" </dev/null >&2
    done
    command -v module >/dev/null
}

# Old releases of `module` succeed for a module that does not exist, but do not change LOADEDMODULES.
load_module() { # the name of a module
    before=${LOADEDMODULES:-}
    module load "$1" </dev/null >&2 || return 1
    case :${LOADEDMODULES:-}: in *":$1:"* | *":$1/"*) return 0 ;; esac
    [ "${LOADEDMODULES:-}" != "$before" ]
}

# The output of loading a module that fails, as log.
explain_failure() { # the name of a module
    (module load "$1" </dev/null 2>&1) | while IFS= read -r line; do printf '\t%s\n' "$line"; done
}

# The names of all modules: the lines of `module -t avail` without folders, headings and marks: (default), <L>.
list_modules() {
    module -t avail </dev/null 2>&1 | while IFS= read -r line; do
        line=${line%%(*} line=${line%% <*}
        case $line in '' | *: | */ | *' '*) ;; *) printf '%s\n' "$line" ;; esac
    done
}

# What `notebook.environment` may be set to here, one per line.
list_environments() {
    names
    if project=$(find_project); then
        kind=uv
        [ ! -e "$project/poetry.lock" ] || kind=poetry
        prefix=$("find_${kind}_environment" "$project")
        [ -z "$prefix" ] || [ ! -x "$prefix/bin/python" ] || printf '%s\n' "$kind"
    fi
}
