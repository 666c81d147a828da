"""Side-by-side measurements; each is one command, run from the project's folder."""
