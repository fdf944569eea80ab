"""What lies on a worker's disk: names, manifests, checked files, shards."""
