"""From questions and answers to an adapter: data, presets, runs and their cards."""
