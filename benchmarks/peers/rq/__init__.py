"""RQ on Redis: a fork for each job, unless told otherwise."""
