-- Sessions number :first to :last as an application would have made them, some 600 bytes each. Conditions over n say what
-- they are: :due is a sign-in abandoned an hour ago, :active is in use; :stale says whose expires_at is long past, which
-- changes nothing for one in use. Nothing else is due.
INSERT INTO public.mcp_sessions (
    session_id, user_id, server_id, server_name, server_url, transport_type, callback_url, created_at, updated_at,
    expires_at, active, client_information, tokens, client_id)
SELECT 'session-' || n, 'user-' || n % 50000, 'server-' || n % 20, 'Server ' || n % 20,
       'https://mcp-' || n % 20 || '.example.com/sse', 'sse', 'https://app.example.com/oauth/callback',
       now() - interval '20 days', now() - (n % 20) * interval '1 day',
       now() + CASE WHEN :due THEN interval '-1 hour' WHEN :stale THEN interval '-10 days' ELSE interval '1 day' END,
       NOT (:due) AND (:active),
       jsonb_build_object('client_id', md5(n::text), 'redirect_uris', '["https://app.example.com/oauth/callback"]'::jsonb),
       jsonb_build_object('access_token', repeat(md5(n::text), 4), 'refresh_token', md5((-n)::text), 'token_type', 'bearer'),
       md5(n::text)
  FROM generate_series(:first, :last) AS n;
