"""What is in the sky: tables, snapshots, placement, and the metadata that keeps them."""
