-- Copies that were found bad or missing, by the worker that should have them; kept after
-- their repair, for a disk that damages one file will damage another.
CREATE TABLE damage (
    worker_id TEXT NOT NULL REFERENCES worker (id),
    path TEXT NOT NULL,
    found TEXT NOT NULL,
    reason TEXT NOT NULL,
    repaired TEXT,
    PRIMARY KEY (worker_id, path, found)
);
