"""Studies: gates x depths x learning rates x seeds in, run directories out."""
