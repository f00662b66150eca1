"""The scoring process: Chinese posts in, verdicts out; never imports torch."""
