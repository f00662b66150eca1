"""From labelled posts to a verified bundle: read, check, fine-tune, merge, export, quantise, calibrate, evaluate."""
