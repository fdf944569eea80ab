"""Texts in, one syntax tree out: ADQL now; geometry is canonical in every language."""
