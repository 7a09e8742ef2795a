"""Fits what decides about reuse; nothing here is needed to serve."""
