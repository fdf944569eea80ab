-- Every change of the metadata gives it a new revision: workers know by it whether what
-- they remember of the catalog is the newest.
ALTER TABLE cluster ADD COLUMN revision BIGINT NOT NULL DEFAULT 0;
-- The files that are live at a version: a rebuilt list that has fewer is not whole.
-- Versions made before are not counted.
ALTER TABLE table_version ADD COLUMN files BIGINT;
CREATE INDEX manifest_entry_by_start ON manifest_entry (table_id, valid_from);
CREATE INDEX manifest_entry_by_end ON manifest_entry (table_id, valid_to);
CREATE INDEX replica_by_worker ON replica (worker_id);
CREATE INDEX contribution_by_load ON contribution (load_id);
