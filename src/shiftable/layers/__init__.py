"""What goes before a subsampling so that it aliases less: low-pass filters. Needs torch."""
