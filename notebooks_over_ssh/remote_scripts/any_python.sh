# Leaves the choice of the Python to run_program.sh, which is sent next.
#
# Standard input has one line for the marker that begins every reply.

IFS= read -r marker
python=
