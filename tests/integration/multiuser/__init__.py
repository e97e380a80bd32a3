"""Real accounts: passwords, one-time codes, agents, and every usual login shell, with sshd and PAM."""
