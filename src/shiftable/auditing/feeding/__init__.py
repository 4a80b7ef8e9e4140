"""One model fed in other ways, and other files of the same model."""
