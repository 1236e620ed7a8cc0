"""Scores of every pair of a text and a video."""
