"""Attacks by hosts, networks and other accounts."""
