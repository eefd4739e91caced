-- Some thousand sessions of every kind, with the payloads that real ones carry. The kind is kept in server_name, where
-- the demo can show it.
INSERT INTO public.mcp_sessions
    (session_id, user_id, server_id, server_name, server_url, transport_type, callback_url,
     created_at, updated_at, expires_at, active, headers, client_information, tokens, code_verifier, client_id)
SELECT gen_random_uuid()::text, 'user-' || (random() * 400)::int, 'server-' || n % 7, k.kind,
       'https://mcp.example.com/' || n % 7, (ARRAY['streamable_http', 'sse'])[1 + n % 2], 'https://app.example.com/callback',
       t.touched - interval '1 hour', t.touched, t.expires, k.active,
       jsonb_build_object('accept', 'application/json, text/event-stream', 'x-trace', md5(n::text)),
       jsonb_build_object('client_name', 'Example Assistant', 'redirect_uris', jsonb_build_array('https://app.example.com/callback')),
       CASE WHEN k.active THEN
           jsonb_build_object('access_token', md5(random()::text) || md5(random()::text), 'token_type', 'Bearer', 'expires_in', 3600)
       END,
       CASE WHEN k.active IS NOT TRUE THEN md5(random()::text) END, md5((n % 50)::text)
  FROM (VALUES
        ('signing in right now',                 400, false, interval '0',       interval '9 minutes',  interval '3 minutes'),
        ('abandoned sign-in',                   2600, false, interval '90 days', interval '-1 minute',  interval '-90 days'),
        ('abandoned sign-in, active is NULL',    300, NULL,  interval '90 days', interval '-1 minute',  interval '-90 days'),
        ('active, used this month',             1500, true,  interval '20 days', interval '30 days',    interval '1 day'),
        ('active, past its expires_at, in use',  900, true,  interval '9 days',  interval '-1 day',     interval '-60 days'),
        ('active, untouched for 29 days',        120, true,  interval '29 days', interval '1 day',      interval '-20 days'),
        ('active, untouched for over 30 days',   700, true,  interval '400 days', interval '-300 days', interval '-1 day')
       ) AS k (kind, number, active, untouched, expires_from, expires_to),
       generate_series(1, k.number) AS n,
       LATERAL (SELECT CASE k.kind
                         WHEN 'active, untouched for 29 days' THEN now() - interval '29 days' - random() * interval '23 hours'
                         WHEN 'active, untouched for over 30 days' THEN now() - interval '721 hours' - random() * interval '300 days'
                         ELSE now() - random() * k.untouched
                       END - n * interval '0' AS touched,
                       now() + k.expires_from + random() * (k.expires_to - k.expires_from) + n * interval '0' AS expires) AS t;
ANALYZE public.mcp_sessions;
