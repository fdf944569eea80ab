"""What is in the sky: tables, snapshots, placement, and the metadata of them."""
