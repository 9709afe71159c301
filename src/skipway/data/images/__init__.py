"""Images: decoded once or while training, augmented, and made a net's input."""
