"""One image, or one video, followed step by step."""
