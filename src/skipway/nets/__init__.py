"""Nets: bodies and stacks. A depth and a gate make a net; one registry names them."""
