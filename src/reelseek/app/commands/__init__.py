"""One file a command: `parse(words)` reads its options, `run(arguments)` does it and returns the exit code."""
