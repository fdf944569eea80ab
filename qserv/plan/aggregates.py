"""Aggregates: their names, and the SQL of what DuckDB makes of the rows that it has.

``{0}`` stands for the argument (of a pair: y), ``{1}`` for the other (x), ``{over}``
for the window, if it is one. A pair counts where both are known. What has one value,
however often, does not vary: DuckDB's own moments tell so only up to rounding, and to
divide by that rounding would make a correlation of it.

MEAN, M2 and MXY are partial, for `qserv.plan.aggregate` to merge.
"""

from typing import Final

MOMENTS: Final = {
    "STDDEV": ("samp", True),
    "STDDEV_SAMP": ("samp", True),
    "STDDEV_POP": ("pop", True),
    "VARIANCE": ("samp", False),
    "VAR_SAMP": ("samp", False),
    "VAR_POP": ("pop", False),
}
"""Second-moment aggregates: over n - 1 (samp) or n (pop), and whether the root."""

PAIRS: Final = frozenset(
    {
        *{"CORR", "COVAR_POP", "COVAR_SAMP"},
        *{"REGR_AVGX", "REGR_AVGY", "REGR_COUNT", "REGR_INTERCEPT", "REGR_R2"},
        *{"REGR_SLOPE", "REGR_SXX", "REGR_SXY", "REGR_SYY"},
    }
)
"""Aggregates of pairs (y, x), as in SQL:2003 (ISO/IEC 9075-2, section 10.9)."""

AGGREGATES: Final = frozenset(
    {"COUNT", "SUM", "AVG", "MIN", "MAX", "MEDIAN", *MOMENTS, *PAIRS}
)

_X: Final = "qserv_paired({1}, {0})"
_Y: Final = "qserv_paired({0}, {1})"


def _varies(value: str) -> str:
    return f"min({value}){{over}} < max({value}){{over}}"


def _divided(name: str, *by: tuple[str, str]) -> str:
    """Write what is divided by sums of squares: NULL where they are no divisors."""
    terms = (f"{_varies(v)} AND isfinite({s}({{0}}, {{1}}){{over}})" for v, s in by)
    return f"CASE WHEN {' AND '.join(terms)} THEN {name}({{0}}, {{1}}){{over}} END"


_BY_X: Final = (_X, "regr_sxx")
_BY_Y: Final = (_Y, "regr_syy")

SQL: Final = {
    "COUNT": "count({0}){over}",
    "SUM": "sum({0}){over}",
    "AVG": "avg({0}){over}",
    "MIN": "min({0}){over}",
    "MAX": "max({0}){over}",
    "MEDIAN": "median({0}){over}",
    "STDDEV": "stddev_samp({0}){over}",
    "STDDEV_SAMP": "stddev_samp({0}){over}",
    "STDDEV_POP": "stddev_pop({0}){over}",
    "VARIANCE": "var_samp({0}){over}",
    "VAR_SAMP": "var_samp({0}){over}",
    "VAR_POP": "var_pop({0}){over}",
    "COVAR_POP": "covar_pop({0}, {1}){over}",
    "COVAR_SAMP": "covar_samp({0}, {1}){over}",
    "CORR": _divided("corr", _BY_X, _BY_Y),
    "REGR_AVGX": "regr_avgx({0}, {1}){over}",
    "REGR_AVGY": "regr_avgy({0}, {1}){over}",
    # DuckDB's own counts in 32 bits.
    "REGR_COUNT": f"count({_Y}){{over}}",
    "REGR_INTERCEPT": _divided("regr_intercept", _BY_X),
    "REGR_R2": f"CASE WHEN {_varies(_Y)} THEN {_divided('regr_r2', _BY_X, _BY_Y)} "
    f"WHEN {_varies(_X)} THEN 1e0 END",
    "REGR_SLOPE": _divided("regr_slope", _BY_X),
    "REGR_SXX": "regr_sxx({0}, {1}){over}",
    "REGR_SXY": "regr_sxy({0}, {1}){over}",
    "REGR_SYY": "regr_syy({0}, {1}){over}",
    "MEAN": "qserv_mean({0})",
    "M2": "qserv_m2({0})",
    "MXY": "qserv_mxy({0}, {1})",
}
