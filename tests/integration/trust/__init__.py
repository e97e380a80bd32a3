"""The browsers' trust stores: found, added to, and restored, with NSS's own certutil."""
