"""What a batch is: a tree of tensors, and what is known of it before there is one. torch alone."""
