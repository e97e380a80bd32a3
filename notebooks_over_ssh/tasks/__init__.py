"""The commands: what each does in what order, and what the user reads."""
