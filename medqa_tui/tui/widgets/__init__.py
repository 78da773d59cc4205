"""One file a region of the screen."""
