"""Removers without training: fitted to the clear pixels of a scene in closed form."""
