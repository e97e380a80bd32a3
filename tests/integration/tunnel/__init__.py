"""The tunnel: its bytes, windows and packets, and how it recovers from a lost connection."""
