#!/usr/bin/env bash
# Starts a throwaway PostgreSQL with 6,520 MCP sessions, lets mcp-cleanupd delete those that are due, and compares the result
# with that of plain DELETE statements. Ends the server and deletes its files at the end, also after Ctrl-C.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -t 1 ]; then bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' blue=$'\e[34m' reset=$'\e[0m'; else bold='' dim='' green='' blue='' reset=''; fi
say() { printf '\n%s%s%s\n' "$bold" "$*" "$reset"; }
# Time to read, if the output is a terminal.
pause() { if [ -t 1 ]; then sleep "${1:-1.5}"; fi; }
show() { printf '%s$ %s%s\n' "$blue" "$*" "$reset"; }

say "Building mcp-cleanupd (the first build takes some minutes)"
"${SWIFT:-swift}" build --product mcp-cleanupd
daemon=$("${SWIFT:-swift}" build --product mcp-cleanupd --show-bin-path)/mcp-cleanupd

# --- A server of our own ---------------------------------------------------------------------------------------------
binaries=$(find /usr/lib/postgresql -maxdepth 2 -name bin | sort -V | tail -1)
directory=$(mktemp -d /tmp/mcp-cleanupd-demo-XXXXXX)
as_server=()
if [ "$(id -u)" -eq 0 ]; then
    # PostgreSQL refuses to run as root.
    chown postgres "$directory"
    as_server=(setpriv --reuid=postgres --regid=postgres --clear-groups)
fi
service=''
cleanup() {
    [ -z "$service" ] || kill "$service" 2>/dev/null || true
    trap '' INT TERM
    trap - EXIT
    "${as_server[@]}" "$binaries/pg_ctl" -D "$directory/data" -m immediate stop >/dev/null 2>&1 || true
    rm -rf "$directory"
    printf '\n%sThe throwaway server has ended, and its directory is deleted.%s\n' "$dim" "$reset"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say "Starting a throwaway PostgreSQL in $directory"
"${as_server[@]}" "$binaries/initdb" -D "$directory/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-sync >/dev/null
"${as_server[@]}" "$binaries/pg_ctl" -D "$directory/data" -l "$directory/log" -w \
    -o "-c listen_addresses='' -c unix_socket_directories='$directory' -c fsync=off" start >/dev/null
# No configuration of the user's shell may lead the demo to another database.
unset CREDENTIALS_DIRECTORY ${!MCP_CLEANUP_@}
sql() { PAGER=cat PSQL_PAGER=cat "$binaries/psql" -X -q -v ON_ERROR_STOP=1 -h "$directory" -U postgres "$@" postgres; }
export NEON_DATABASE_URL="postgresql://postgres@/postgres?host=$directory"

# --- The application's table, and its sessions -----------------------------------------------------------------------
say "Creating the sessions table of @mcp-ts/sdk"
show "mcp-cleanupd migrate --sessions"
"$daemon" migrate --sessions --log-level error
sql -f demo/sessions.sql

say "Filling it with 6,520 sessions, as after months of use"
sql -f demo/kinds.sql
sql -c "CREATE TABLE before_cleanup AS SELECT * FROM public.mcp_sessions" >/dev/null
pause 3

# --- The cleanup -----------------------------------------------------------------------------------------------------
say "Which sessions would it delete? A dry run deletes nothing"
show "mcp-cleanupd --once --dry-run"
"$daemon" --once --dry-run
pause 3

say "Delete them"
show "mcp-cleanupd --once"
"$daemon" --once
pause 2

say "The sessions that are left"
sql -f demo/kinds.sql
pause 2

say "When will the sessions of one user be deleted, and why?"
show "mcp-cleanupd sessions --user user-7"
"$daemon" sessions --user user-7
pause 2

# pg_cron's two statements on a copy of the table: do they leave the same sessions?
wrong=$(sql -At -f demo/compare.sql)
if [ "$wrong" != 0 ]; then
    echo "$wrong sessions differ from what the two plain DELETE statements would have left." >&2
    exit 1
fi
say "${green}Checked:${reset} two plain DELETE statements on a copy of the table leave exactly the same sessions."
pause 2

# --- The service -----------------------------------------------------------------------------------------------------
say "Now as a service, every 10 seconds instead of every 5 minutes. 100 more sign-ins have just expired"
sql -c "UPDATE public.mcp_sessions SET expires_at = now() - interval '1 second'
         WHERE id IN (SELECT id FROM public.mcp_sessions WHERE active IS NOT TRUE LIMIT 100)"
# A free port: the demo may run beside a real service.
port=9764
while (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do port=$((port + 1)); done
export MCP_CLEANUP_HTTP_LISTEN="127.0.0.1:$port"
show "mcp-cleanupd"
MCP_CLEANUP_JOBS_MCP_CLEANUP_TRANSIENT_SESSIONS_SCHEDULE='10 seconds' "$daemon" --log-format text &
service=$!
# The next fire time is at most 10 s away; 20 s are enough for the run after it.
for _ in $(seq 100); do
    [ "$(sql -At -c "SELECT count(*) FROM public.mcp_sessions WHERE expires_at < now() AND active IS NOT TRUE")" != 0 ] || break
    sleep 0.2
done
# Prints the body of an HTTP response.
get() {
    exec 3<>"/dev/tcp/127.0.0.1/$port"
    printf 'GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' "$1" >&3
    sed '1,/^\r*$/d' <&3
    exec 3>&-
}
say "They are deleted. The service reports its state:"
show "mcp-cleanupd health --ready"
"$daemon" health --ready
show "curl http://$MCP_CLEANUP_HTTP_LISTEN/metrics"
get /metrics | grep -E '^mcp_cleanup_(rows_deleted_total|last_success).*transient'
show "curl http://$MCP_CLEANUP_HTTP_LISTEN/status.json"
get /status.json | grep -oE '"(database|ready|short_name|next_run_at|rows_deleted_24h)":("[^"]*"|[^,]*)' | sed 's/^/  /'
say "Look at it while it runs:"
echo "  the page          ${green}http://$MCP_CLEANUP_HTTP_LISTEN/${reset}"
echo "  the same as JSON  ${green}http://$MCP_CLEANUP_HTTP_LISTEN/status.json${reset}"
if [ -t 1 ]; then
    read -r -t 300 -p "Enter ends the demo. " || true
fi
kill -TERM "$service"
wait "$service"
service=''
say "The service ended on SIGTERM with exit code 0."
say "What to do next, with a database of yours:"
cat <<END
  make build                                     # .build/mcp-cleanupd; or make deb, make image
  export NEON_DATABASE_URL=postgresql://…
  .build/mcp-cleanupd check                      # says what is missing; changes nothing
  .build/mcp-cleanupd --once --dry-run           # says what would be deleted; deletes nothing
  .build/mcp-cleanupd                            # the service, until Ctrl-C
README.md says how to run it under systemd, in a container or from cron.
END
