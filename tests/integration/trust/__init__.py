"""The stores of browsers: found, added to, and left as they were, with NSS's own certutil."""
