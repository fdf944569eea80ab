"""Rows that are live go through a load again: changed, fewer, or as they are.

A load may read stored files of a table beside files of users, or instead of them. Their
rows keep home and `_source`, so that whoever refers to them finds them where they were;
what is made of rows (index, overlap, bounds, counts) is made anew. What the table's
files had before goes when the load commits; older snapshots read what they always did.
"""
