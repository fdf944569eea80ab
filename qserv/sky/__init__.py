"""Positions, pixels, regions and chunks: everything that knows the sky's shape."""
