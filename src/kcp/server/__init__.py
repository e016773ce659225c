"""The composition root: options, which parts a server is made of, and in which order they run and stop."""
