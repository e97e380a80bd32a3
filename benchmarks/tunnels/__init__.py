"""What benchmarks/tunnel.py is made of: the path, those who forward along it, what is measured, how it is shown."""
