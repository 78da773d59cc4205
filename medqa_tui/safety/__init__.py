"""Red-flag rules, scope, text sanitising and the disclaimer: rules that run before any model."""
