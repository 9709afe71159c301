"""Arrays and tensors as a data set: any tree of them, from memory or from the cache."""
