"""Videos: a model's answers frame by frame, how much the picture moved, and what smoothing would do."""
