-- Installs the record of removed sessions: a row for each session that mcp-cleanupd removed, if history.removed is a
-- duration. No column holds a credential. Run it as the owner of the database, after the history:
--     psql "$OWNER_URL" -v ON_ERROR_STOP=1 -f migrations/neon/20260513050000_install_mcp_cleanup_removed.sql
-- or  mcp-cleanupd migrate --role mcp_service_role
-- It can be run again at any time: what is there stays as it is.

CREATE SCHEMA IF NOT EXISTS mcp_cleanup;

-- run_id is that of mcp_cleanup.runs, without a foreign key: runs may be kept for less long. A column that the sessions
-- table lacks is NULL.
CREATE TABLE IF NOT EXISTS mcp_cleanup.removed (
    run_id BIGINT NOT NULL,
    session_id TEXT,
    user_id TEXT,
    server_id TEXT,
    server_name TEXT,
    server_url TEXT,
    created_at TIMESTAMPTZ,
    updated_at TIMESTAMPTZ,
    expires_at TIMESTAMPTZ,
    removed_at TIMESTAMPTZ NOT NULL
);

-- Old rows are found by their age. Rows of one batch share their time, so the index stays small.
CREATE INDEX IF NOT EXISTS removed_removed_at_idx ON mcp_cleanup.removed (removed_at);

-- A publication FOR ALL TABLES would else forbid to delete old rows.
DO $$
BEGIN
    IF (SELECT relreplident FROM pg_class WHERE oid = 'mcp_cleanup.removed'::regclass) <> 'f' THEN
        ALTER TABLE mcp_cleanup.removed REPLICA IDENTITY FULL;
    END IF;
END
$$;

-- ---------------------------------------------------------------------------------------------------------------------
-- For the role that mcp-cleanupd connects with. Replace its name where it has another one, then uncomment; or let
-- mcp-cleanupd migrate --role NAME  do it.
--
-- GRANT USAGE ON SCHEMA mcp_cleanup TO mcp_service_role;
-- GRANT INSERT, SELECT, DELETE ON mcp_cleanup.removed TO mcp_service_role;
