"""The Python library: connect to a czar, ask, stream rows, load files.

::

    import qserv

    with qserv.connect("127.0.0.1:7480") as db:
        db.query("SELECT TOP 5 * FROM hip.Object ORDER BY Hpmag").to_astropy()
"""
