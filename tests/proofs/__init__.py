"""What the way to a host promises, proved against servers that lie, hang, refuse and answer nonsense."""
