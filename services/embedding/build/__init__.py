"""Builds the encoder's graphs from its published weights; nothing here is needed to serve."""
