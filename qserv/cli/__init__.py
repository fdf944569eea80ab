"""The command line: assembly of the programs, and what people type.

Modules here import nothing slow at their top, so that ``qserv --help`` comes at once.
"""
