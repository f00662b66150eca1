"""What serving, training and annotation agree on; standard library only."""
