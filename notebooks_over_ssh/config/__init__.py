"""Reads and validates the settings; `schema` defines them, and `settings` merges their sources."""
