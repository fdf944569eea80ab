-- A table lives in the snapshots [valid_from, valid_to). The name of one that is gone is
-- free again: its `folded` is then followed by `#` and its id.
ALTER TABLE catalog_table ADD COLUMN valid_from BIGINT NOT NULL DEFAULT 0;
ALTER TABLE catalog_table ADD COLUMN valid_to BIGINT REFERENCES snapshot (id);
UPDATE catalog_table SET valid_from = (
    SELECT COALESCE(MIN(version), 0) FROM table_version
    WHERE table_version.table_id = catalog_table.id
);
