"""Command line and page; everything else is imported by it, it by nothing."""
