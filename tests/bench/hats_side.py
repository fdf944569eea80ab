"""Imports tables with hats-import, in the environment that has it; prints seconds.

``python hats_side.py SCRATCH OUT TABLE=FILE,FILE…``: with two processes of one thread,
as many as the benchmark gives to everybody; the client's own start is not counted.
"""

import json
import sys
import time
from pathlib import Path

from dask.distributed import Client
from hats_import.catalog.arguments import ImportArguments
from hats_import.pipeline import pipeline_with_client


def main() -> None:
    """Import each table and print its seconds as JSON."""
    scratch, out, *tables = sys.argv[1:]
    seconds = {}
    with Client(
        n_workers=2,
        threads_per_worker=1,
        memory_limit="4GiB",
        local_directory=scratch,
        dashboard_address=None,
    ) as client:
        for each in tables:
            table, _, files = each.partition("=")
            arguments = ImportArguments(
                output_artifact_name=table.lower(),
                output_path=out,
                input_file_list=[Path(file) for file in files.split(",")],
                file_reader="parquet",
                ra_column="ra",
                dec_column="dec",
                tmp_dir=scratch,
                progress_bar=False,
            )
            start = time.perf_counter()
            pipeline_with_client(arguments, client)
            seconds[table] = time.perf_counter() - start
    print(json.dumps(seconds))


if __name__ == "__main__":
    main()
