-- What a load read again is told wherever loads are listed.
CREATE INDEX contribution_before_by_end ON contribution_before (held_until);
