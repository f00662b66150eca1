"""What `python -m training` can do: a module for each command, or for a few that share their options; `add()` declares them."""
