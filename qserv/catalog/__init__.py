"""What is in the sky: tables, snapshots, placement, the metadata that keeps them."""
