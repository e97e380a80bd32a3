# Starts an SSH server in the job, with the rest of standard input and standard output as its connection.
#
# Standard input has one line each for: the number of the job; the configuration of the server, a path on the home folder
# that all nodes share. sshd(8) requires its own absolute path, and is in no PATH of most users.
# `--overlap` shares the resources of the job with the server's step, `--unbuffered` passes single bytes on (srun(1)).
# Without `--immediate`, srun waits for a minute or longer if the controller has no step for it, as after its restart.

IFS= read -r job
IFS= read -r config
exec srun --jobid="$job" --immediate=3 --overlap --unbuffered --quiet --nodes=1 --ntasks=1 \
    /bin/sh -c 'PATH=$PATH:/usr/sbin:/usr/local/sbin:/sbin:/usr/lib/ssh
        sshd=$(command -v sshd) || { echo "there is no sshd" >&2; exit 127; }
        exec "$sshd" -i -e -f "$1"' sh "$config"
