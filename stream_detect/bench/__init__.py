"""How fast this machine is: footage that is made on the spot, the real line with timers around its stages, a plot."""
