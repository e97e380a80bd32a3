"""Tests of one module each, without servers."""
