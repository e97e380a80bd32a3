# Runs a command in the job, with the rest of standard input as its input.
#
# Standard input has one line each for: the number of the job; the command.
# `--overlap` shares the resources of the job with the step, `--unbuffered` passes single bytes on (srun(1)).
# Without `--immediate`, srun waits for a minute or longer if the controller has no step for it, as after its restart.

IFS= read -r job
IFS= read -r command
exec srun --jobid="$job" --immediate=3 --overlap --unbuffered --quiet --nodes=1 --ntasks=1 /bin/sh -c "$command"
