-- A ref-match table pairs the ids of two directors; `id_column` is a child's own id.
ALTER TABLE catalog_table ADD COLUMN second_key TEXT;
ALTER TABLE catalog_table ADD COLUMN second_director TEXT;
ALTER TABLE catalog_table ADD COLUMN id_column TEXT;
