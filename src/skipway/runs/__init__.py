"""One training, whoever asks for it: from a config to a run directory."""
