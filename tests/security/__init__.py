"""Tests of what hostile hosts, networks and accounts can do."""
