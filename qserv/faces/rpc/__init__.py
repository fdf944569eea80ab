"""The gRPC way into a czar, and the program that serves it."""
