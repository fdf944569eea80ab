-- What functions mean in every DuckDB of qserv: executors, the czar's merge, the tests'
-- oracle. Outside its domain a function gives NULL (design: NaN is NULL), so that a
-- long scan does not die of one row.

-- What DuckDB 2.0 fails in. in_clause turns a list of constants into a join, which may
-- not be reordered ('Failed to bind column reference "IN (...)"'): of a long list the
-- planner writes rows instead (`qserv.plan.render`). outer_join_simplification loses
-- columns of a FULL JOIN ('unordered_map::at'): the planner does it itself.
-- join_elimination loses columns of what a LEFT JOIN is ON. statistics_propagation sees
-- that nothing can join, and with the join drops a LIMIT or an EXISTS around it, so that
-- there are too many rows or none; or takes a COUNT over no rows for no row.
SET GLOBAL disabled_optimizers =
    'in_clause,outer_join_simplification,join_elimination,statistics_propagation';

CREATE MACRO qserv_finite(x) AS CASE WHEN isfinite(x) THEN x END;

-- A text as a number: SQL92's numerals, no hexadecimal, no underscores; NaN is NULL.
CREATE MACRO qserv_numeral(x) AS CASE
    WHEN regexp_full_match(
        x, '\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*'
    ) THEN x
    WHEN lower(trim(x)) <> 'nan' THEN error(format('''{}'' is no number', x))
END;

-- A text as a moment (DALI 1.1 section 3.1.2): in UTC, so that no offset is ignored.
CREATE MACRO qserv_timestamp(x) AS CASE
    WHEN regexp_full_match(
        x,
        '\s*[0-9]{4}-[0-9]{2}-[0-9]{2}'
        || '([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?)?Z?\s*'
    ) THEN CAST(x AS TIMESTAMP)
    WHEN x IS NOT NULL THEN error(format('''{}'' is no moment in UTC', x))
END;

CREATE MACRO qserv_log(x) AS CASE WHEN x > 0 THEN ln(x) END;

CREATE MACRO qserv_log10(x) AS CASE WHEN x > 0 THEN log10(x) END;

CREATE MACRO qserv_sqrt(x) AS CASE WHEN x >= 0 THEN sqrt(x) END;

CREATE MACRO qserv_asin(x) AS CASE WHEN x BETWEEN -1 AND 1 THEN asin(x) END;

CREATE MACRO qserv_acos(x) AS CASE WHEN x BETWEEN -1 AND 1 THEN acos(x) END;

-- The functions of an infinite angle have no value.
CREATE MACRO qserv_sin(x) AS CASE WHEN isfinite(x) THEN sin(x) END;

CREATE MACRO qserv_cos(x) AS CASE WHEN isfinite(x) THEN cos(x) END;

CREATE MACRO qserv_tan(x) AS CASE WHEN isfinite(x) THEN tan(x) END;

CREATE MACRO qserv_cot(x) AS CASE WHEN qserv_tan(x) <> 0 THEN 1 / tan(x) END;

-- Away from zero on both sides; n digits after the point, negative n before it.
CREATE MACRO qserv_round(x, n) AS CASE WHEN abs(n) <= 300 THEN round(x, n) END;

-- Towards zero. The decimal text of a double is the shortest that reads back the same,
-- so the comparison catches 0.29 * 100 = 28.999999999999996.
CREATE MACRO qserv_truncate(x, n) AS CASE
    WHEN abs(n) > 300 THEN NULL
    WHEN abs(round(x, n)) <= abs(x) THEN round(x, n)
    ELSE round(round(x, n) - sign(x) * pow(10.0::DOUBLE, -n), n)
END;

-- What a group's rows of a chunk say of its mean and its moments. Of what is the same in
-- all rows the mean is just that, and the moments are 0; only so it is known, once they
-- are merged, that it does not vary. An error of the mean would count twice there: it
-- is added up by Kahan's rule.
CREATE MACRO qserv_mean(x) AS CASE WHEN min(x) < max(x) THEN favg(x) ELSE min(x) END;

CREATE MACRO qserv_m2(x) AS CASE
    WHEN min(x) < max(x) THEN var_pop(x) * count(x) WHEN count(x) > 0 THEN 0e0
END;

-- A value, where the other of its pair is known.
CREATE MACRO qserv_paired(x, y) AS CASE WHEN y IS NOT NULL THEN x END;

CREATE MACRO qserv_mxy(y, x) AS CASE
    WHEN min(qserv_paired(x, y)) < max(qserv_paired(x, y))
        AND min(qserv_paired(y, x)) < max(qserv_paired(y, x))
    THEN regr_sxy(y, x)
    WHEN count(qserv_paired(y, x)) > 0 THEN 0e0
END;

-- Squared length of the chord between two unit vectors: exact for small angles, where
-- the cosine of the angle is not.
CREATE MACRO qserv_chord2(x1, y1, z1, x2, y2, z2) AS
    (x1 - x2) * (x1 - x2) + (y1 - y2) * (y1 - y2) + (z1 - z2) * (z1 - z2);

-- The angle between two unit vectors, exact for small angles and for antipodes (Kahan,
-- "How futile are mindless assessments of roundoff", section 12).
CREATE MACRO qserv_separation(x1, y1, z1, x2, y2, z2) AS degrees(2 * atan2(
    sqrt(qserv_chord2(x1, y1, z1, x2, y2, z2)),
    sqrt(qserv_chord2(x1, y1, z1, -x2, -y2, -z2))
));

-- The cell of side h that a coordinate of a unit vector lies in.
CREATE MACRO qserv_cell(x, h) AS CAST(floor(x / h) AS BIGINT);

CREATE MACRO qserv_x(lon, lat) AS qserv_cos(radians(lat)) * qserv_cos(radians(lon));

CREATE MACRO qserv_y(lon, lat) AS qserv_cos(radians(lat)) * qserv_sin(radians(lon));

CREATE MACRO qserv_z(lat) AS qserv_sin(radians(lat));
