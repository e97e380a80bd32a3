# ~/.bashrc: for interactive shells. Debian's bash also reads it for a command run by sshd, so return early there.
case $- in
    *i*) ;;
    *) return ;;
esac

PS1='\u@$HOSTNAME:\w\$ '

# >>> conda initialize >>>
# A fake of what `conda init` writes.
PATH=$HOME/miniconda3/condabin:$PATH
conda() {
    case ${1-} in
        activate)
            if [ -f "$HOME/miniconda3/envs/${2-}/conda-meta/history" ] && [ -n "${2-}" ]; then
                [ -z "${CONDA_PREFIX-}" ] || conda deactivate
                CONDA_PREFIX=$HOME/miniconda3/envs/$2 CONDA_DEFAULT_ENV=$2
                export CONDA_PREFIX CONDA_DEFAULT_ENV
                PATH=$CONDA_PREFIX/bin:$PATH
            else
                echo "EnvironmentNameNotFound: could not find conda environment: ${2-}" >&2
                return 1
            fi
            ;;
        deactivate)
            PATH=${PATH#"${CONDA_PREFIX-}/bin:"}
            unset CONDA_PREFIX CONDA_DEFAULT_ENV
            ;;
        *) command conda "$@" ;;
    esac
}
# <<< conda initialize <<<
