"""Parts of benchmarks/tunnel.py: the network, the competitors, workloads and metrics, table and chart."""
