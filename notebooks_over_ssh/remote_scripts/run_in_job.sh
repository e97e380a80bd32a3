# Runs a command in the job, with the rest of standard input as its input.
#
# Standard input has one line each for: the number of the job; the command.
# `--overlap` shares the resources of the job with the step, `--unbuffered` passes single bytes on (srun(1)).

IFS= read -r job
IFS= read -r command
exec srun --jobid="$job" --overlap --unbuffered --quiet --nodes=1 --ntasks=1 /bin/sh -c "$command"
