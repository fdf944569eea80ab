"""From a syntax tree to an immutable plan: pure, one pass, one file, one function.

1. `qserv.dialects` turns the text into a syntax tree with canonical geometry.
2. `bind` resolves its names against the snapshot and types every expression.
3. `relations` proves that it can be answered chunk by chunk, and with which rows.
4. `restrict` finds the areas and keys that limit the chunks.
5. `neighbours` turns near-neighbour joins into joins on cells of the unit vector.
6. `aggregate` splits the work between workers and czar.
7. `render` writes the SQL of both.
8. `route`, after the czar resolved the keys, yields the chunks.
"""
