"""Towers that turn frames and texts into vectors, and temporal modules over frames."""
