"""What a module consists of: its rows of repeated blocks, its layers in order, its skips, and what they cost."""
