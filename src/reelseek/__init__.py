"""Text-video retrieval you can train, trust and use."""

__version__ = "0.1.0"
