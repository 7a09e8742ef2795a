"""Fits what puts passages in order, and says how good it is."""
