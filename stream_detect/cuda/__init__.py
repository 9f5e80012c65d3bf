"""What runs on a GPU: the kernels, and everything between a decoded picture there and the scores that leave it."""
