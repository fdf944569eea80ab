-- A load may replace tables, or the files that earlier loads made of one. Of a
-- contribution: the snapshot whose files hold its rows (its load's, or that of a later
-- load that brought them anew), and the first snapshot without them.
ALTER TABLE contribution ADD COLUMN held_since BIGINT REFERENCES snapshot (id);
ALTER TABLE contribution ADD COLUMN valid_to BIGINT REFERENCES snapshot (id);
UPDATE contribution SET
    held_since = (SELECT MIN(id) FROM snapshot WHERE load_id = contribution.load_id),
    valid_to = (
        SELECT valid_to FROM catalog_table WHERE catalog_table.id = contribution.table_id
    );

-- Bounds of the rows that this version brought, as JSON; NULL where they are not known.
ALTER TABLE table_version ADD COLUMN own_bounds TEXT;

-- The tables that the load replaced, a JSON list of names.
ALTER TABLE load ADD COLUMN replaced TEXT NOT NULL DEFAULT '[]';
