"""Questions and answers kept on this machine for their owner."""
