"""Demuxing and decoding in a process of its own: what a bad stream can crash or hang there harms nothing else."""
