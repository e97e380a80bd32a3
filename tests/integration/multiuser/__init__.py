"""Real accounts: passwords, one-time codes and agents, and every usual login shell, on sshd with PAM."""
