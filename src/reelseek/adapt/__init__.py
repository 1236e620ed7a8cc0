"""Marks and captions of one library into a small head over its model, or a refusal."""
