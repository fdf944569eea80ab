"""The line of a file: read, checked, partitioned, sent, received, made visible."""
