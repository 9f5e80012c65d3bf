"""What deploy/ holds: an image, a unit, and the program's side of a service manager."""
