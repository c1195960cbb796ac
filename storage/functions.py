"""Functions inside PostgreSQL that abort a whole multi-statement query with an SQLSTATE of our own."""

LEASE_LOST = "MR001"
"""The lease is lost or unknown."""
NOT_OURS = "MR002"
"""An update touched fewer rows than it had to."""

FENCE = f"""
CREATE FUNCTION millrace_fence(mine bigint) RETURNS void LANGUAGE plpgsql AS $body$
BEGIN
  PERFORM 1 FROM lease WHERE id = mine AND NOT lost FOR SHARE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'lease % is lost', mine USING ERRCODE = '{LEASE_LOST}';
  END IF;
END $body$
"""

EXPECT = f"""
CREATE FUNCTION millrace_expect(wanted bigint, touched bigint) RETURNS void LANGUAGE plpgsql AS $body$
BEGIN
  IF wanted <> touched THEN
    RAISE EXCEPTION '% of % rows are not ours, or not open any more',
      wanted - touched, wanted USING ERRCODE = '{NOT_OURS}';
  END IF;
END $body$
"""

FUNCTIONS = (FENCE, EXPECT)
