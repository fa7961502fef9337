"""Operators of the networks: readable references that run everywhere."""
