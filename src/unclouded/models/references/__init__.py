"""Removers that use images of other dates."""
