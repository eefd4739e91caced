-- Optional: two indexes over the sessions that mcp-cleanupd may remove, and no others. With them a search costs what is due,
-- however many sessions there are. Worth it from some ten thousand sessions on. Run it as the table's owner, beside the
-- application, and outside a transaction:
--     psql "$OWNER_URL" -v ON_ERROR_STOP=1 -f migrations/neon/20260513040000_add_mcp_cleanup_indexes.sql
-- or  mcp-cleanupd migrate --indexes
-- It can be run again at any time: what is there stays, and what an interrupted build left behind is built again.
-- It waits for transactions that are older; where they take too long it fails, and can be repeated.

SET lock_timeout = '10s';

SELECT pg_catalog.format('DROP INDEX CONCURRENTLY %I.%I', n.nspname, c.relname)
  FROM pg_catalog.pg_index AS i
  JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) i.indexrelid
  JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
 WHERE i.indrelid OPERATOR(pg_catalog.=) '"public"."mcp_sessions"'::pg_catalog.regclass
   AND c.relname OPERATOR(pg_catalog.=) ANY (ARRAY['idx_mcp_sessions_cleanup_transient', 'idx_mcp_sessions_cleanup_dormant']) AND NOT i.indisvalid
\gexec

CREATE INDEX CONCURRENTLY IF NOT EXISTS "idx_mcp_sessions_cleanup_transient"
    ON "public"."mcp_sessions" (expires_at) WHERE active IS NOT TRUE;

CREATE INDEX CONCURRENTLY IF NOT EXISTS "idx_mcp_sessions_cleanup_dormant"
    ON "public"."mcp_sessions" (updated_at) WHERE active OPERATOR(pg_catalog.=) true;
