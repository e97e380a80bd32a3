"""The user's own stores, in which browsers look up whom to trust: found, added to, and left as they were."""
