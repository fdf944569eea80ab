"""The protocol: generated messages, their codec, channels and typed errors."""
