# Lists the environments, after a line with the name of the system of modules. Reads the first lines that
# enter_environment.sh reads.

IFS= read -r marker
IFS= read -r environment
IFS= read -r directory

environments=$(list_environments)
system=
if define_module; then system=${LMOD_CMD:+Lmod} system=${system:-Environment Modules}; fi
printf '\n%s\n%s\n' "$marker listed $system" "$environments"
