"""`tallyloop-init`: a project to start from."""
