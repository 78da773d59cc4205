"""Installing a profile, phase by phase, so that a kill at any moment loses nothing."""
