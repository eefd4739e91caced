/* The claim protocol of mcp-cleanupd on mcp_cleanup.runs, statement by statement. README.md says what this model
 * contains, what it leaves out, and which options each configuration and each mutation (BREAK_…) sets.
 *
 * A Worker is one process with one job. A Server is one connection's server process: it executes a script to its end
 * even if the worker that sent the script has been killed or has given the connection up. Time is nondeterminism: a
 * frozen worker is a process that takes no step, and a lease may end between any two steps. */
#ifndef DAEMONS
#define DAEMONS 2                       /* worker w has job w % JOBS */
#endif
#ifndef ONCES
#define ONCES 0                         /* --once processes, all of job 0 */
#endif
#ifndef JOBS
#define JOBS 1
#endif
#ifndef LAST
#define LAST 2                          /* fire times that come at any moment; one more comes when all is at rest */
#endif
#ifndef DUE
#define DUE 0                           /* sessions that are due at the start; each fire time brings one more */
#endif
#ifndef QUIET
#define QUIET 0                         /* fire times, the first ones, that bring no session */
#endif
#define WORKERS (DAEMONS + ONCES)
#define CONNECTIONS (2 * WORKERS)       /* worker w uses w, and w + WORKERS after it has lost one */
#define FIRES 4                         /* 0 stands for the `scheduled_at` of --once, which is no fire time */
#define ROWS (JOBS * FIRES)
#define KEY(job, fire) ((job) * FIRES + (fire))
#define JOB(row) ((row) / FIRES)
#define TOKEN(worker, attempt) (1 + (worker) * 8 + (attempt))
#define OWNER(token) (((token) - 1) / 8)
#define ONCE(worker) ((worker) >= DAEMONS)

/* Properties. A violated assertion ends with its property's name. */
#define HOLDS(property, condition) assert((condition) || property)
hidden byte One_run_of_a_job, Only_the_owner_deletes, Each_row_is_counted_once, A_fire_time_succeeds_once,
  Only_dead_owners_are_replaced, Only_the_owner_closes, No_deadlock, No_fire_time_is_lost, Dead_runs_are_closed,
  No_lease_is_waited_in_vain, No_session_is_left;

/* How many faults of each kind may happen, each at any moment. */
#ifndef KILLS
#define KILLS 0                         /* kill -9 of a worker, which may be started again */
#endif
#ifndef STOPS
#define STOPS 0                         /* SIGTERM to a worker, which may be started again */
#endif
#ifndef LOSSES
#define LOSSES 0                        /* a connection lost by the worker while its script goes on, or after it */
#endif
#ifndef ABORTS
#define ABORTS 0                        /* a transaction that the server rolls back: a transient failure */
#endif
#ifndef FREEZES
#define FREEZES 0                       /* a lease that ends, or an attempt that becomes overdue, while its owner lives */
#endif
#ifndef REFUSALS
#define REFUSALS 0                      /* a permanent failure */
#endif
#ifndef CRASHES
#define CRASHES 0                       /* a crash of the server that loses the commits which did not wait for the disk */
#endif
byte crashes = CRASHES;
byte kills = KILLS, stops = STOPS, losses = LOSSES, aborts = ABORTS, freezes = FREEZES, refusals = REFUSALS;

mtype = { running, succeeded, failed, canceled, abandoned, record, claim, reopen, batch, renew, close, ok,
  no_row, error };

typedef Run {
  mtype status;                         /* 0: there is no such row */
  byte owner;                           /* claimed_by, a token */
  bit again;                            /* next_attempt_at is not null */
  bit silent;                           /* running: no heartbeat for the lease; again: next_attempt_at has long passed */
  byte lock;                            /* 1 + the connection whose open transaction holds the row */
  mtype next;                           /* the status that this transaction gives it; 0: it only locks the row */
  bit unflushed;                        /* its commit did not wait for the disk, and no later one did */
}
typedef Connection {
  mtype script; byte token, row; mtype outcome; bit again, mine;        /* what the worker sent */
  mtype answer, status; byte owner; bit silent, retry, other, once;     /* what the script returned */
  bit unheard;                                                          /* no worker waits for the answer */
}
Run runs[ROWS];
Connection conn[CONNECTIONS];
byte due[JOBS], gone[JOBS];             /* sessions that are due, and that were deleted */
byte counted[JOBS];                     /* the sum of rows_deleted over the job's runs */
byte now;                               /* the latest fire time that has come, of all jobs */
byte covered[JOBS];                     /* the latest fire time that needs no run any more */
byte believes[WORKERS];                 /* the token of the run that a living worker owns, or waits to try again */
byte earlier[WORKERS];                  /* the tokens of the run's earlier attempts in this process, one bit each */
bit alive[WORKERS], killed[WORKERS], stopped[WORKERS];

inline forget(k) {
  d_step {
    conn[k].script = 0; conn[k].token = 0; conn[k].row = 0; conn[k].outcome = 0; conn[k].again = 0; conn[k].mine = 0;
    conn[k].answer = 0; conn[k].status = 0; conn[k].owner = 0; conn[k].silent = 0; conn[k].retry = 0;
    conn[k].other = 0; conn[k].once = 0; conn[k].unheard = 0
  }
}

/* ---- The server ------------------------------------------------------------------------------------------------- */

/* Another transaction decides whether an INSERT or a reopening UPDATE conflicts on row r: the statement waits for it. */
#define DECIDES(r) (runs[r].lock != 0 && runs[r].lock != c + 1 && runs[r].next != 0 \
  && (runs[r].status == running || runs[r].next == running || r == conn[c].row))
#define WAITS(j) (DECIDES(KEY(j, 0)) || DECIDES(KEY(j, 1)) || DECIDES(KEY(j, 2)) || DECIDES(KEY(j, 3)))
#define MINE_TO_RUN(r) (runs[r].lock == c + 1 && runs[r].next == running)

/* True in x if a row of the connection's job other than `but` is running, as the open transaction sees it. */
inline findOther(but) {
  r = KEY(JOB(conn[c].row), 0); x = 0;
  do
  :: r < KEY(JOB(conn[c].row), FIRES) ->
     if :: r != but && runs[r].status == running && runs[r].lock != c + 1 -> x = r + 1 :: else fi;
     r++
  :: else -> break
  od;
  r = 0
}
inline lockDead(own) {        /* UPDATE … SET status = 'abandoned' … FOR UPDATE SKIP LOCKED */
  r = 0;
  do
  :: r < ROWS ->
     if
     :: runs[r].status == running && runs[r].silent && runs[r].lock == 0 && r != conn[c].row &&
        (own || JOB(r) != JOB(conn[c].row)) -> runs[r].lock = c + 1; runs[r].next = abandoned
     :: else
     fi;
     r++
  :: else -> break
  od;
  r = 0
}
inline insert() {             /* INSERT … ON CONFLICT DO NOTHING */
  findOther(ROWS);
  if
  :: x == 0 && runs[conn[c].row].status == 0 -> runs[conn[c].row].lock = c + 1; runs[conn[c].row].next = running
  :: else
  fi;
  x = 0
}
inline look() {             /* SELECT the row of the fire time, and the row of the job that is running */
  findOther(conn[c].row);
  if :: x != 0 -> conn[c].other = 1; conn[c].once = (x - 1 == KEY(JOB(x - 1), 0)) :: else fi;
  x = conn[c].row;
  if
  :: MINE_TO_RUN(x) -> conn[c].status = running; conn[c].owner = conn[c].token
  :: else ->
     conn[c].status = runs[x].status; conn[c].owner = runs[x].owner;
     conn[c].silent = runs[x].silent; conn[c].retry = runs[x].again
  fi;
  x = 0
}
/* The transaction's end, and with `commits` its effect; then what has to be true of the whole table. */
inline end(commits, result) {
  r = 0;
  do
  :: r < ROWS ->
     if
     :: commits && conn[c].script != record -> runs[r].unflushed = 0
     :: else
     fi;
     if
     :: runs[r].lock == c + 1 && runs[r].next != 0 && commits ->
        HOLDS(A_fire_time_succeeds_once, runs[r].status != succeeded);
        runs[r].silent = 0; runs[r].again = 0;
        if
        :: conn[c].script == record ->
           runs[r].owner = conn[c].token; runs[r].unflushed = (CRASHES > 0);
           if :: r != KEY(JOB(r), 0) && r % FIRES > covered[JOB(r)] -> covered[JOB(r)] = r % FIRES :: else fi
        :: runs[r].next == running -> runs[r].owner = conn[c].token
        :: runs[r].next == failed ->
           runs[r].again = conn[c].again;
           if :: !conn[c].again && r != KEY(JOB(r), 0) && r % FIRES > covered[JOB(r)] -> covered[JOB(r)] = r % FIRES
           :: else fi
        :: runs[r].next == succeeded && conn[c].script != record && r != KEY(JOB(r), 0) -> covered[JOB(r)] = now
        :: else
        fi;
        runs[r].status = runs[r].next
     :: else
     fi;
     if :: runs[r].lock == c + 1 -> runs[r].lock = 0; runs[r].next = 0 :: else fi;
     r++
  :: else -> break
  od;
  r = 0;
  do
  :: r < JOBS ->
     x = 0; z = 0;
     do
     :: z < FIRES ->
        if :: runs[KEY(r, z)].status == running -> x++ :: else fi;
        z++
     :: else -> break
     od;
     HOLDS(One_run_of_a_job, x <= 1);
     HOLDS(Each_row_is_counted_once, counted[r] == gone[r]);
     r++
  :: else -> break
  od;
  r = 0; x = 0; z = 0;
  if :: conn[c].unheard -> forget(c) :: else -> conn[c].answer = result fi
}
inline miss() {               /* an UPDATE or a SELECT that returned no row */
  end(false, no_row);
  conn[c].status = 0; conn[c].other = 0; conn[c].retry = 0
}
/* The row is not as the worker saw it. */
#ifdef BREAK_REOPEN_BLIND
#define CHANGED(row) false
#elif defined(BREAK_NO_LEASE)
#define CHANGED(row) (row.status != conn[c].status || row.owner != conn[c].owner)
#else
#define CHANGED(row) (row.status != conn[c].status || row.owner != conn[c].owner \
  || (!conn[c].mine && conn[c].silent && !row.silent))
#endif
#define OURS (runs[conn[c].row].status == running && runs[conn[c].row].owner == conn[c].token)
#define ROLLBACK :: atomic { aborts > 0 -> aborts--; d_step { end(false, error) } }

proctype Server(byte c) {
  byte r, x, z;
end_of_script:
  if
  :: atomic { conn[c].script == record && conn[c].answer == 0 -> goto recording }
  :: atomic { conn[c].script == claim && conn[c].answer == 0 -> goto claiming }
  :: atomic { conn[c].script == reopen && conn[c].answer == 0 -> goto reopening }
  :: atomic { conn[c].script == batch && conn[c].answer == 0 -> goto deleting }
  :: atomic { conn[c].script == renew && conn[c].answer == 0 -> goto renewing }
  :: atomic { conn[c].script == close && conn[c].answer == 0 -> goto closing }
  fi;

recording:  /* INSERT … 'succeeded' … ON CONFLICT DO NOTHING: waits for a transaction that decides if the row is there */
  atomic {
    runs[conn[c].row].lock == 0 || runs[conn[c].row].next == 0 ->
    if
#ifndef BREAK_RECORD_OVER
    :: runs[conn[c].row].status != 0 -> d_step { miss() }; goto end_of_script
#endif
    :: else -> runs[conn[c].row].lock = c + 1; runs[conn[c].row].next = succeeded
    fi
  };
  if
  :: atomic { d_step { conn[c].status = succeeded; end(true, ok) } }
  ROLLBACK
  fi;
  goto end_of_script;

claiming:
#ifdef BREAK_ABANDON_FIRST
  atomic { d_step { lockDead(true) } };
#endif
  atomic { !WAITS(JOB(conn[c].row)) -> d_step { insert() } };
#ifndef BREAK_ABANDON_FIRST
#ifndef BREAK_NO_ABANDON
  atomic { d_step { lockDead(true) } };
#endif
#endif
#ifdef BREAK_INSERT_AGAIN
  atomic { !WAITS(JOB(conn[c].row)) -> d_step { if :: !MINE_TO_RUN(conn[c].row) -> insert() :: else fi } };
#endif
  if
  :: atomic { d_step { look(); end(true, ok) } }
  ROLLBACK
  fi;
  goto end_of_script;

reopening:  /* UPDATE … WHERE token, status, silence AND NOT EXISTS (another run of the job that is running) */
  atomic {
    d_step { findOther(conn[c].row) };
#ifdef BREAK_REOPEN_BESIDE
    x = 0;
#endif
    if :: x != 0 -> x = 0; d_step { miss() }; goto end_of_script :: else fi
  };
  atomic {
    runs[conn[c].row].lock == 0 ->
    if
    :: CHANGED(runs[conn[c].row]) -> d_step { miss() }; goto end_of_script
    :: else ->
       HOLDS(Only_dead_owners_are_replaced, runs[conn[c].row].status != running || runs[conn[c].row].silent ||
         (conn[c].mine && runs[conn[c].row].owner == conn[c].owner));
       runs[conn[c].row].lock = c + 1
    fi
  };
  atomic {  /* the unique index of running rows: another transaction's row is waited for, then unique_violation */
    !WAITS(JOB(conn[c].row)) ->
    runs[conn[c].row].next = running;
    d_step { findOther(conn[c].row) };
#ifdef BREAK_REOPEN_BESIDE
    x = 0;
#endif
    if :: x != 0 -> x = 0; d_step { miss() }; goto end_of_script :: else fi
  };
  if
  :: atomic { d_step { end(true, ok) } }
  ROLLBACK
  fi;
  goto end_of_script;

deleting:   /* WITH held AS (SELECT the run's row, if it is ours, FOR NO KEY UPDATE SKIP LOCKED): if empty, nothing is deleted */
  atomic {
    if
#ifndef BREAK_NO_FENCE
    :: runs[conn[c].row].lock != 0 || !OURS -> d_step { miss() }; goto end_of_script
#endif
    :: else -> runs[conn[c].row].lock = c + 1
    fi
  };
#if defined(BREAK_NO_FENCE) || defined(BREAK_HELD_UNLOCKED)
  runs[conn[c].row].lock = 0;
#endif
  if          /* DELETE one session; if it was still there, account for it; COMMIT */
  :: atomic {
       if
       :: due[JOB(conn[c].row)] > 0 ->
          HOLDS(Only_the_owner_deletes, OURS);
          d_step {
            due[JOB(conn[c].row)]--; gone[JOB(conn[c].row)]++;
#ifndef BREAK_COUNT_LATER
            counted[JOB(conn[c].row)]++;
#endif
            runs[conn[c].row].silent = 0
          }
       :: else
       fi;
       d_step { end(true, ok) } }
  ROLLBACK
  fi;
  goto end_of_script;

renewing:   /* UPDATE the heartbeat, if the run is ours: waits for the row's lock */
  if
  :: atomic {
       runs[conn[c].row].lock == 0 ->
       if
       :: OURS -> runs[conn[c].row].silent = 0; d_step { end(true, ok) }
       :: else -> d_step { miss() }
       fi }
  ROLLBACK
  fi;
  goto end_of_script;

closing:    /* UPDATE … WHERE token AND running; SELECT the row by its token */
  atomic {
    runs[conn[c].row].lock == 0 ->
    if
#ifdef BREAK_CLOSE_BLIND
    :: runs[conn[c].row].status == running ->
#else
    :: OURS ->
#endif
       runs[conn[c].row].lock = c + 1; runs[conn[c].row].next = conn[c].outcome
    :: else
    fi
  };
  if
  :: atomic {
       if
       :: runs[conn[c].row].lock == c + 1 ->
          HOLDS(Only_the_owner_closes, runs[conn[c].row].owner == conn[c].token);
          conn[c].status = conn[c].outcome; d_step { end(true, ok) }
       :: runs[conn[c].row].lock != c + 1 && runs[conn[c].row].owner == conn[c].token ->
          conn[c].status = runs[conn[c].row].status; d_step { end(true, ok) }
       :: else -> d_step { end(true, no_row) }
       fi }
  ROLLBACK
  fi;
  goto end_of_script
}

/* ---- The workers ------------------------------------------------------------------------------------------------- */

#define SEND(kind) d_step { conn[k].script = kind; conn[k].token = TOKEN(w, attempt); conn[k].row = KEY(j, fire); got = 0; lost = 0 }
inline hear() {               /* the answer; or the connection is lost, before or after the script's end */
  if
  :: atomic { conn[k].answer != 0 ->
       got = conn[k].answer;
       if :: got == error -> forget(k) :: else fi }
  :: atomic { losses > 0 -> losses--;
       got = error; lost = (conn[k].script == record);
       if :: conn[k].answer != 0 -> forget(k) :: else -> conn[k].unheard = 1 fi;
       k = (k + WORKERS) % CONNECTIONS }
  fi
}
#define EARLIER(token) ((token) != 0 && OWNER(token) == w && (earlier[w] >> (((token) - 1) % 8)) & 1)
#ifdef BREAK_FORGET_TOKENS
#define MINE(token) false
#else
#define MINE(token) EARLIER(token)
#endif
#ifdef BREAK_RETRY_BESIDE
#define OTHER false
#else
#define OTHER conn[k].other
#endif
#ifdef BREAK_NO_LEASE
#define SILENT true
#else
#define SILENT conn[k].silent
#endif
#ifdef BREAK_ONCE_TAKES_A_LEASE
#define IS_SHORT false
#else
#define IS_SHORT (conn[k].other && conn[k].once)
#endif
#ifdef BREAK_FAILURE_ANSWERS
#define RETRY false
#else
#define RETRY conn[k].retry
#endif
#ifdef BREAK_STOP_ANSWERS
#define CUT_SHORT false
#else
#define CUT_SHORT (conn[k].status == canceled || conn[k].status == abandoned)
#endif
/* The first search's snapshot: a session is due, or a row of any job is running. Then the statement writes nothing. */
#define ANY_RUNS(r) (runs[r].status == running || runs[(r) + 1].status == running || runs[(r) + 2].status == running \
  || runs[(r) + 3].status == running)
#ifdef BREAK_RECORD_BESIDE
#define RUN_ELSEWHERE false
#elif JOBS == 2
#define RUN_ELSEWHERE (ANY_RUNS(0) || ANY_RUNS(4))
#else
#define RUN_ELSEWHERE ANY_RUNS(0)
#endif
#ifdef BREAK_RECORD_FOUND
#define FOUND false
#else
#define FOUND (due[j] > 0)
#endif
/* The look-back's read: the latest fire time needs no run. */
#ifdef BREAK_ONCE_ANSWERS
#define ONCE_COUNTS || runs[KEY(j, 0)].status != 0
#else
#define ONCE_COUNTS
#endif
#ifdef BREAK_FAILURE_ANSWERS
#define ANSWERED (fire == 0 || runs[KEY(j, fire)].status == succeeded || runs[KEY(j, fire)].status == failed ONCE_COUNTS)
#else
#define ANSWERED (fire == 0 || runs[KEY(j, fire)].status == succeeded \
  || (runs[KEY(j, fire)].status == failed && !runs[KEY(j, fire)].again) ONCE_COUNTS)
#endif
/* There is something to wait for: an owner that may live, or an attempt that another process may make. */
#define FRESH(r) (runs[r].status == running && (!runs[r].silent || runs[r].lock != 0))
#define RUNS (FRESH(KEY(j, 0)) || FRESH(KEY(j, 1)) || FRESH(KEY(j, 2)) || FRESH(KEY(j, 3)))
#define HELD (RUNS || (runs[KEY(j, fire)].status == failed && runs[KEY(j, fire)].again && !runs[KEY(j, fire)].silent \
  && !EARLIER(runs[KEY(j, fire)].owner)))

proctype Worker(byte w, j) {
  byte k = w, fire, seen, attempt, r;
  mtype got, outcome;
  bit mayPass, lost;
start:
  {
    atomic {
      alive[w] = 1; seen = now; fire = (ONCE(w) -> 0 : now);
#ifdef SKIP
      goto predecessor
#else
      if :: ONCE(w) || !ANSWERED -> goto begin :: else -> goto idle fi
#endif
    };

idle:
    atomic { believes[w] = 0; earlier[w] = 0; outcome = 0; mayPass = 0; got = 0; fire = 0; if :: ONCE(w) -> goto ended :: else fi };
end_of_run:
    atomic {
      if
      :: now > seen -> goto successor
      :: stopped[w] -> goto ended
      fi };
successor:
    atomic { seen = now; fire = now; earlier[w] = 0 };

begin:      /* An attempt, by a fresh token. A run's first one searches, and records the run if it finds nothing. */
    atomic {
      assert(attempt < 8);
      outcome = 0;
      if
      :: stopped[w] -> goto ended
      :: !stopped[w] && (earlier[w] != 0 || FOUND || RUN_ELSEWHERE) -> goto claimIt
      :: !stopped[w] && earlier[w] == 0 && !FOUND && !RUN_ELSEWHERE && conn[k].script == 0 ->
         believes[w] = TOKEN(w, attempt); SEND(record)
      fi };
    hear();
    atomic {
      if
      :: got == ok -> forget(k); goto done
      :: got == no_row -> forget(k)
      :: got == error && !lost -> outcome = failed                    /* the failure gets a row */
      :: got == error && lost -> lost = 0; goto failure               /* its close finds the row, if there is one */
      fi };

claimIt:
    atomic {
      if
      :: stopped[w] -> goto ended
      :: !stopped[w] && conn[k].script == 0 -> believes[w] = TOKEN(w, attempt); SEND(claim)
      fi };
    hear();
    atomic {  /* ClaimDecision */
      if
      :: got == error -> goto failure
      :: got == ok && conn[k].status == 0 && !conn[k].other ->        /* what stood in the way has ended: again */
         forget(k);
#ifdef BREAK_NO_SECOND_CLAIM
         goto skipped
#else
         goto claimIt
#endif
      :: got == ok && conn[k].status == 0 && conn[k].other -> goto held
      :: got == ok && conn[k].owner == TOKEN(w, attempt) -> forget(k); goto work
      :: got == ok && conn[k].status != 0 && conn[k].owner != TOKEN(w, attempt) ->
         if
         :: conn[k].status == running && (MINE(conn[k].owner) || SILENT) -> goto take
         :: conn[k].status == running && !(MINE(conn[k].owner) || SILENT) -> goto held
         :: conn[k].status == succeeded && MINE(conn[k].owner) -> forget(k); goto done
         :: conn[k].status != running && conn[k].status != succeeded && MINE(conn[k].owner) ->
            if :: OTHER -> goto held :: else -> goto take fi
         :: !MINE(conn[k].owner) && CUT_SHORT && !ONCE(w) -> if :: conn[k].other -> goto held :: else -> goto take fi
         :: !MINE(conn[k].owner) && conn[k].status == failed && RETRY ->
            if :: conn[k].other || !conn[k].silent -> goto held :: else -> goto take fi
         :: else -> forget(k); goto skipped
         fi
      fi };

take:
    atomic { conn[k].answer = 0; conn[k].mine = MINE(conn[k].owner); SEND(reopen) };
    hear();
    atomic {
      if
      :: got == error -> goto failure
      :: got == ok -> forget(k); goto work
      :: got == no_row ->                                             /* another process was faster: look at once */
#ifdef BREAK_LOST_TAKEOVER_WAITS
         goto held
#else
         forget(k); goto claimIt
#endif
      fi };

work:
    atomic {
      if
      :: outcome == failed -> goto failure
      :: stopped[w] -> outcome = canceled; goto ending
      :: !stopped[w] && refusals > 0 -> refusals--; outcome = failed; mayPass = 0; goto ending
      :: !stopped[w] && due[j] == 0 -> outcome = succeeded; goto ending
      :: !stopped[w] && due[j] > 0 && conn[k].script == 0 -> SEND(batch)
      fi };
    hear();
    atomic {
      if
      :: got == error -> goto failure
      :: got == ok -> forget(k); goto work
      :: got == no_row -> forget(k)                                   /* `held` was empty: is the run still ours? */
      fi;
#ifdef BREAK_NO_QUESTION
      goto work;
#endif
      SEND(renew) };
    hear();
    atomic {
      if
      :: got == error -> goto failure
      :: got == ok -> forget(k); goto work
      :: got == no_row -> forget(k); goto again
      fi };

failure:    /* a transient cause: the row says when the next attempt is due; --once makes none */
    atomic { outcome = (stopped[w] -> canceled : failed); mayPass = !ONCE(w) };
ending:
    atomic { conn[k].script == 0 -> conn[k].outcome = outcome; conn[k].again = (outcome == failed && mayPass); SEND(close) };
    hear();
    atomic {
      if
      :: got == ok && conn[k].status == succeeded -> forget(k); goto done
      :: got == error && outcome == succeeded -> goto failure
      :: else -> if :: got != error -> forget(k) :: else fi;
         if
         :: outcome == failed && !mayPass -> goto skipped
         :: else -> goto again
         fi
      fi };

done:       /* Fire times that came meanwhile are coalesced. */
    atomic { attempt++; seen = now; if :: !ONCE(w) -> covered[j] = now :: else fi; goto idle };
skipped:    /* answered before, or failed for good: a fire time that came meanwhile gets its own run */
    atomic { if :: outcome != 0 -> attempt++ :: else fi; goto idle };

again:      /* the wait between two attempts */
    atomic { earlier[w] = earlier[w] | (1 << attempt); attempt++; got = 0; outcome = 0; mayPass = 0 };
    atomic {
      if
      :: stopped[w] || ONCE(w) -> goto ended
      :: !stopped[w] && !ONCE(w) && now > seen -> goto successor
      :: !stopped[w] && !ONCE(w) -> goto begin
      fi };

held:       /* another process has the run: look again when its lease ends, or within 4 s if it is a run of --once */
    atomic {
      HOLDS(No_lease_is_waited_in_vain, (conn[k].other || !EARLIER(conn[k].owner)) && (IS_SHORT || conn[k].status == running ||
        (conn[k].other && !conn[k].once) || (conn[k].status == failed && conn[k].retry)));
      forget(k); got = 0;
      if :: ONCE(w) -> goto idle :: else fi };
wait:
    atomic {
      if
      :: stopped[w] -> goto ended
      :: !stopped[w] && now > seen -> goto successor
      :: !stopped[w] && now == seen && !HELD -> goto begin
      fi };

predecessor:  /* catch-up: skip. What a dead process left is closed, and nothing is caught up with. */
#ifdef SKIP
#ifdef BREAK_SKIP_LEAVES
    goto idle;
#endif
    atomic {
      if
      :: stopped[w] -> goto ended
      :: !stopped[w] && now > seen -> goto successor
      :: !stopped[w] && now == seen && !RUNS ->
         d_step {
           r = KEY(j, 0);
           do
           :: r < KEY(j, FIRES) ->
              if :: runs[r].status == running -> runs[r].status = abandoned; runs[r].silent = 0 :: else fi;
              r++
           :: else -> break
           od;
           r = 0 };
         goto idle
      fi };
#endif
ended:
    skip
  } unless {
    atomic { killed[w] ->
      if :: conn[k].script != 0 || believes[w] == TOKEN(w, attempt) -> attempt++ :: else fi;
      if
      :: conn[k].script != 0 && conn[k].answer == 0 -> conn[k].unheard = 1; k = (k + WORKERS) % CONNECTIONS
      :: conn[k].answer != 0 -> forget(k)
      :: else
      fi }
  };
  d_step {
    alive[w] = 0; believes[w] = 0; killed[w] = 0; stopped[w] = 0; earlier[w] = 0;
    fire = 0; got = 0; outcome = 0; mayPass = 0; lost = 0; seen = 0; r = 0
  };
  if :: !ONCE(w) -> goto start :: true -> attempt = 0 fi      /* started again, or never */
}

/* ---- Time, faults, and what has to be true when nothing can happen any more ---------------------------------------- */

#define LIVES(w, r) (alive[w] && (believes[w] == runs[r].owner \
  || (runs[r].status == failed && OWNER(runs[r].owner) == w && (earlier[w] >> ((runs[r].owner - 1) % 8)) & 1)))
#if WORKERS == 1
#define OWNED(r) LIVES(0, r)
#elif WORKERS == 2
#define OWNED(r) (LIVES(0, r) || LIVES(1, r))
#else
#define OWNED(r) (LIVES(0, r) || LIVES(1, r) || LIVES(2, r))
#endif
#define SILENCE(r) :: atomic { !runs[r].silent && (runs[r].status == running \
    || (runs[r].status == failed && runs[r].again && r % FIRES == now)) && (!OWNED(r) || freezes > 0) -> \
  if :: OWNED(r) -> freezes-- :: else fi; runs[r].silent = 1 }
#define FAULTS(w) :: atomic { kills > 0 && alive[w] && !killed[w] -> kills--; killed[w] = 1 } \
  :: atomic { stops > 0 && alive[w] && !stopped[w] && !ONCE(w) -> stops--; stopped[w] = 1 }

inline fireTime() { now++; x = 0; do :: x < JOBS -> due[x] = due[x] + (now > QUIET); x++ :: else -> break od; x = 0 }
inline crash() {              /* what it does to open transactions and to connections, ABORTS and LOSSES do */
  do
  :: x < ROWS ->
     if
     :: runs[x].unflushed -> runs[x].status = 0; runs[x].owner = 0; runs[x].unflushed = 0
     :: else
     fi;
     x++
  :: else -> break
  od;
  x = 0
}

proctype World() {
  byte x;
end_of_time:
  do
  :: atomic { now < LAST -> d_step { fireTime() } }
  :: atomic { crashes > 0 -> crashes--; d_step { crash() } }
  :: atomic { now >= LAST && kills + stops > 0 -> kills = 0; stops = 0 }
  SILENCE(0) SILENCE(1) SILENCE(2) SILENCE(3)
#if JOBS == 2
  SILENCE(4) SILENCE(5) SILENCE(6) SILENCE(7)
#endif
  FAULTS(0)
#if WORKERS > 1
  FAULTS(1)
#endif
#if WORKERS > 2
  FAULTS(2)
#endif
  od
}

#ifdef SKIP
#define SKIPS true
#else
#define SKIPS false
#endif

inline checkRest(isLast) {
  x = 0;
  do :: x < CONNECTIONS -> HOLDS(No_deadlock, conn[x].script == 0); x++ :: else -> break od;
  x = 0;
  do
  :: x < DAEMONS ->
     if
     :: alive[x] ->
        HOLDS(No_fire_time_is_lost, covered[x % JOBS] == now || (SKIPS && !isLast));
        HOLDS(No_session_is_left, due[x % JOBS] == 0 || !isLast || REFUSALS > 0);
        /* What nobody waits for (a claim that its process did not live to see, a dead --once) the next claim closes. */
        y = KEY(x % JOBS, (isLast || KILLS + STOPS + LOSSES == 0 -> 0 : FIRES));
        do
        :: y < KEY(x % JOBS, FIRES) -> HOLDS(Dead_runs_are_closed, runs[y].status != running); y++
        :: else -> break
        od
     :: else
     fi;
     x++
  :: else -> break
  od;
  x = 0; y = 0
}
proctype Rest() {
  byte x, y;
  atomic { timeout -> d_step { checkRest(false); fireTime() } };      /* the last fire time comes at rest */
  atomic { timeout -> d_step { checkRest(true) } }
}

init {
  byte i;
  atomic {
    do :: i < JOBS -> due[i] = DUE; i++ :: else -> i = 0; break od;
#ifdef DEAD_BEFORE                      /* every job has a run whose owner is dead */
    now = 1;
    do
    :: i < JOBS ->
       runs[KEY(i, 1)].status = running; runs[KEY(i, 1)].owner = 255; runs[KEY(i, 1)].silent = 1; i++
    :: else -> i = 0; break
    od;
#endif
    do :: i < CONNECTIONS -> run Server(i); i++ :: else -> i = 0; break od;
    do :: i < WORKERS -> run Worker(i, (ONCE(i) -> 0 : i % JOBS)); i++ :: else -> i = 0; break od;
    run World(); run Rest()
  }
}
