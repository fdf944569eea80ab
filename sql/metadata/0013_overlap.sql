-- How far a table's overlap reaches at a version, in degrees; of a ref-match table how far
-- apart a pair may be, of others 0. A family's `overlap` is what new tables begin with.
ALTER TABLE table_version ADD COLUMN overlap DOUBLE PRECISION NOT NULL DEFAULT 0;
UPDATE table_version SET overlap = (
    SELECT family.overlap FROM catalog_table
    JOIN catalog_release ON catalog_release.id = catalog_table.release_id
    JOIN family ON family.name = catalog_release.family_name
    WHERE catalog_table.id = table_version.table_id
)
WHERE table_id IN (
    SELECT id FROM catalog_table WHERE kind IN ('director', 'ref-match')
);
