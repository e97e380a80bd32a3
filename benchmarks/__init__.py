"""Benchmarks: time to a notebook, the tunnel against its competitors, the tunnel's memory over time."""
