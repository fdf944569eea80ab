"""A worker: it holds chunks and runs what it is sent."""
