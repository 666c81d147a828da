"""Models of images, and the tasks that are about images alone."""
