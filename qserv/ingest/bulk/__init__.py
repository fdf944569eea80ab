"""The heavy part of a load: tasks that read, sort and cut, on any executor.

::

    read      pieces of input files -> runs: rows sorted by home, each an Arrow file
    keys      runs of keys -> shards of an index, sorted by key; duplicates are found
    leaves    runs -> the leaves of the tree: Parquet files, sent to their workers;
              rows that must lie beside other leaves -> runs by those
    overlap   those runs -> the overlap of each leaf, sent likewise

A task is a function of a picklable value; what it makes lies in the scratch directory
of the load, which all executors share. A task that was done is not done again. None
holds more than a few hundred MB, however much is loaded.
"""
