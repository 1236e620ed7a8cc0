"""Losses: plain functions of scores."""
