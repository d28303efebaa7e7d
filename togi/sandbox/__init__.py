"""Worker processes with a clock and a memory cap for code that may hang or crash; it does not know what they run."""
