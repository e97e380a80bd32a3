"""The tunnel: its bytes, its windows and packets, and what it does when the way is lost."""
