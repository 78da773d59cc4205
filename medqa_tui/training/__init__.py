"""From questions and answers to an adapter: data, presets, runs and the cards that describe them."""
