"""Boxes, masks and key points: compared between two views after undoing the shift."""
