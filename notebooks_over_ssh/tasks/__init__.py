"""The commands: the order of their steps, and their output."""
