"""Training: one loop, its recipe and optimizers, and replicas trained as one. It imports no probe and no report."""
