"""Producers of catalogs: they use the client, and nothing below it.

`hipparcos` makes the release ``hip``: real stars (samples/README.md), observed by a
simulated survey (`survey`, `skysim`). `field` makes ``deep``: a dense synthetic field.
Both write Parquet and load it as any pipeline would, through `Connection.load`.
"""
