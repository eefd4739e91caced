-- Installs the table in which @mcp-ts/sdk keeps MCP sessions. Run it as the owner of the database:
--     psql "$OWNER_URL" -v ON_ERROR_STOP=1 -f migrations/neon/20260513010000_install_mcp_sessions.sql
-- or  mcp-cleanupd migrate --sessions
-- It can be run again at any time: the table and its indexes stay as they are, the function and the trigger are replaced.

CREATE TABLE IF NOT EXISTS public.mcp_sessions (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    session_id TEXT NOT NULL UNIQUE,
    user_id TEXT NOT NULL,
    server_id TEXT,
    server_name TEXT,
    server_url TEXT NOT NULL,
    transport_type TEXT NOT NULL,
    callback_url TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    expires_at TIMESTAMPTZ NOT NULL,
    active BOOLEAN DEFAULT false,
    headers JSONB,
    client_information JSONB,
    tokens JSONB,
    code_verifier TEXT,
    client_id TEXT
);

CREATE INDEX IF NOT EXISTS idx_mcp_sessions_user_id ON public.mcp_sessions (user_id);
CREATE INDEX IF NOT EXISTS idx_mcp_sessions_expires_at ON public.mcp_sessions (expires_at);

-- Dormancy is measured from updated_at, so every change of a session renews it.
CREATE OR REPLACE FUNCTION public.set_current_timestamp_updated_at()
RETURNS TRIGGER AS $$
BEGIN
    NEW.updated_at = now();
    RETURN NEW;
END;
$$ LANGUAGE plpgsql;

-- Not DROP and CREATE: that would lock out every reader for a moment, each time this file is run.
CREATE OR REPLACE TRIGGER trg_mcp_sessions_updated_at
    BEFORE UPDATE ON public.mcp_sessions
    FOR EACH ROW
    EXECUTE FUNCTION public.set_current_timestamp_updated_at();

-- ---------------------------------------------------------------------------------------------------------------------
-- Optional: a role that can do no more than it must, for the application and for mcp-cleanupd.
-- Replace the password and the database's name, then uncomment.
--
-- CREATE ROLE mcp_service_role LOGIN PASSWORD 'replace-with-a-strong-password';
--
-- GRANT CONNECT ON DATABASE neondb TO mcp_service_role;
-- GRANT USAGE ON SCHEMA public TO mcp_service_role;
-- GRANT SELECT, INSERT, UPDATE, DELETE ON public.mcp_sessions TO mcp_service_role;
-- GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO mcp_service_role;
--
-- ALTER DEFAULT PRIVILEGES IN SCHEMA public
--     GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO mcp_service_role;
-- ALTER DEFAULT PRIVILEGES IN SCHEMA public
--     GRANT USAGE ON SEQUENCES TO mcp_service_role;

-- ---------------------------------------------------------------------------------------------------------------------
-- Optional: row security, so that no other role reaches the sessions even if it is granted the table.
-- Needs the role above. Uncomment.
--
-- REVOKE ALL ON public.mcp_sessions FROM PUBLIC;
-- GRANT SELECT, INSERT, UPDATE, DELETE ON public.mcp_sessions TO mcp_service_role;
-- ALTER TABLE public.mcp_sessions ENABLE ROW LEVEL SECURITY;
-- DROP POLICY IF EXISTS mcp_sessions_service_role_all ON public.mcp_sessions;
-- CREATE POLICY mcp_sessions_service_role_all ON public.mcp_sessions
--     FOR ALL TO mcp_service_role USING (true) WITH CHECK (true);
