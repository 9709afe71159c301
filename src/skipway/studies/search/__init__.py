"""The search for learning rates: of one gate at one depth, which trainings come next, by what is in."""
