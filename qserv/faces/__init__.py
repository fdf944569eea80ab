"""Every way in: each is thin, and talks to `qserv.czar.session` only."""
