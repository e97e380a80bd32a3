"""The user's trust stores: find them, add certificates, and remove them again."""
