# Activates the environment of the notebook server, and sets `python`: "" if any will do. Sent before run_program.sh.
#
# Standard input has one line each for: the marker that begins every reply; the environment; the folder of its project;
# the modules to load first, between spaces; a shell command that activates the environment instead.

IFS= read -r marker
IFS= read -r environment
IFS= read -r directory
IFS= read -r modules
IFS= read -r activate
case $environment in '~/'* | '$HOME/'* | '${HOME}/'*) environment=$(expand "$environment") ;; esac

refuse() { # the problem and what it is about, then the alternatives, one per line, and a log with tabs before its lines
    printf '\n%s' "$marker "
    printf '%s\n' "$@"
    exit 0
}

if [ -n "$modules" ]; then
    define_module || refuse modules-missing
    for name in $modules; do
        load_module "$name" || refuse "module-failed $name" "$(list_modules)" "$(explain_failure "$name")"
    done
fi

if [ -n "$activate" ]; then
    eval "$activate" </dev/null >&2 || refuse activate-failed
    python=$(command -v python || command -v python3) || refuse python-missing
elif [ "$environment" = modules ]; then
    python=$(command -v python3 || command -v python) || refuse python-missing
elif [ -n "$environment" ]; then
    case $environment in
    uv | poetry)
        project=$(find_project) || refuse project-missing "$(list_environments)"
        [ "$environment" = uv ] || find_poetry >/dev/null || refuse poetry-missing "$(list_environments)"
        prefix=$("find_${environment}_environment" "$project")
        ;;
    *) prefix=$(find_prefix) ;;
    esac
    if [ -z "$prefix" ] || [ ! -x "$prefix/bin/python" ]; then
        inaccessible=$(candidates | while IFS= read -r candidate; do find_inaccessible "$candidate"; done)
        [ -z "$inaccessible" ] || refuse environment-inaccessible "$inaccessible"
        case $environment in uv | poetry) refuse "project-environment-missing $project" "$(list_environments)" ;; esac
        refuse environment-missing "$(list_environments)"
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
    python=
fi
