# Begins the batch script: writes the host keys of the node to the job's folder, which is the working directory.
#
# They are public. A site may have them elsewhere, or closed to users: then there are none.

{
    cat /etc/ssh/ssh_host_*_key.pub 2>/dev/null
    echo end
} >node_keys
