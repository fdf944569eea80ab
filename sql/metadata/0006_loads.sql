-- Loads outlive their czar. The last number given to an input file (it is the id of its
-- contribution and `_source` in its rows) and to a shard of an index: each is given once
-- in the life of the cluster, so that loads under way at a time share none.
ALTER TABLE cluster ADD COLUMN contributions BIGINT NOT NULL DEFAULT 0;
ALTER TABLE cluster ADD COLUMN shards BIGINT NOT NULL DEFAULT 0;
UPDATE cluster SET
    contributions = (SELECT COALESCE(MAX(id), 0) FROM contribution),
    shards = (
        SELECT COALESCE(MAX(chunk) + 1, 0) FROM manifest_entry WHERE role = 'index'
    );

-- What made the files of a load: the hash of its configuration, what it read (a JSON
-- list); which tables they went to (a JSON list); how many rows were read and left out.
ALTER TABLE load ADD COLUMN configuration TEXT NOT NULL DEFAULT '';
ALTER TABLE load ADD COLUMN input_ids TEXT NOT NULL DEFAULT '[]';
ALTER TABLE load ADD COLUMN table_names TEXT NOT NULL DEFAULT '[]';
ALTER TABLE load ADD COLUMN total_rows BIGINT NOT NULL DEFAULT 0;
ALTER TABLE load ADD COLUMN rejected BIGINT NOT NULL DEFAULT 0;
ALTER TABLE contribution ADD COLUMN rejected BIGINT NOT NULL DEFAULT 0;

-- A load that is neither committed nor aborted: all that its czar, or the one after it,
-- needs to go on with it. `request`, `told` (versions of the tables that the loader
-- compares with), `placement` and `commit_request` are JSON. A load is committing from
-- when its loader asked for it; `version` is then the number of its manifests.
CREATE TABLE open_load (
    load_id TEXT PRIMARY KEY REFERENCES load (id),
    state TEXT NOT NULL CHECK (
        state IN ('begun', 'placed', 'contributing', 'committing')
    ),
    attempt BIGINT NOT NULL,
    fingerprint TEXT NOT NULL,
    request TEXT NOT NULL,
    told TEXT NOT NULL,
    placement TEXT,
    commit_request TEXT,
    version BIGINT,
    reason TEXT NOT NULL,
    heard TEXT NOT NULL
);

-- A file of an open load that workers (a JSON list) have acknowledged.
CREATE TABLE staged_file (
    load_id TEXT NOT NULL REFERENCES open_load (load_id),
    path TEXT NOT NULL,
    table_name TEXT NOT NULL,
    role TEXT NOT NULL,
    chunk BIGINT NOT NULL,
    total_rows BIGINT NOT NULL,
    live_rows BIGINT NOT NULL,
    size BIGINT NOT NULL,
    sha256 TEXT NOT NULL,
    bounds TEXT NOT NULL,
    delta DOUBLE PRECISION,
    workers TEXT NOT NULL,
    PRIMARY KEY (load_id, path)
);

-- An input file of an open load, and what was read from it once it was.
CREATE TABLE open_input (
    load_id TEXT NOT NULL REFERENCES open_load (load_id),
    number BIGINT NOT NULL,
    table_name TEXT NOT NULL,
    source TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    was_read BOOLEAN NOT NULL,
    total_rows BIGINT NOT NULL,
    nulled BIGINT NOT NULL,
    wrapped BIGINT NOT NULL,
    rejected BIGINT NOT NULL,
    PRIMARY KEY (load_id, number)
);
