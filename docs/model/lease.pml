/* The lease in discrete time: does an owner that works keep its run? README.md says what this shows.
 *
 * LEASE ticks make a lease. An owner that is not frozen takes one step in each tick: a heartbeat if its last is older than
 * a sixth of the lease; then a batch, whose commit is a heartbeat too, or a search, which may take TRANSACTION ticks. */
#define LEASE 12
#ifndef TRANSACTION
#define TRANSACTION 4                   /* a third of the lease: the server ends what takes longer */
#endif
hidden byte Owners_that_work_keep_their_lease;

byte silence;                           /* ticks since heartbeat_at, by the database's clock */
byte owner;                             /* the process that owns the run */
byte since[2];                          /* ticks since the process sent a heartbeat, by its own clock */
byte searching[2];                      /* ticks that its search has taken; 0: it does not search */
bit believes[2], moved[2], frozen[2], wasFrozen[2];
bit closed;
byte freezes = 1, batches = 4;

inline heartbeat(p) { since[p] = 0; if :: owner == p -> silence = 0 :: else fi }

proctype Process(byte p) {
end_of_run:
  do
  :: atomic { believes[p] && !frozen[p] && !moved[p] && searching[p] == 0 && owner == p && !closed ->
#ifndef BREAK_NO_HEARTBEAT
       if :: since[p] >= LEASE / 6 -> heartbeat(p); wasFrozen[p] = 0 :: else fi;
#endif
       if
       :: searching[p] = 1
       :: batches > 0 -> batches--; heartbeat(p); wasFrozen[p] = 0
       :: closed = 1
       fi;
       moved[p] = 1 }
  :: atomic { believes[p] && !frozen[p] && owner != p -> believes[p] = 0; searching[p] = 0; wasFrozen[p] = 0 }
  :: atomic { !believes[p] && !closed && silence >= LEASE ->        /* takeover */
       assert((!believes[owner] || frozen[owner] || wasFrozen[owner]) || Owners_that_work_keep_their_lease);
       owner = p; silence = 0; since[p] = 0; believes[p] = 1; moved[p] = 1 }
  od
}

#define WAITS_FOR_TIME(p) (!believes[p] || frozen[p] || moved[p] || searching[p] > 0)
#define TICK(p) moved[p] = 0; \
  if :: since[p] < LEASE -> since[p]++ :: else fi; \
  if \
  :: searching[p] > 0 && searching[p] < TRANSACTION -> searching[p]++ \
  :: searching[p] > 0 -> searching[p] = 0 \
  :: searching[p] == 0 \
  fi

proctype Time() {
end_of_time:
  do
  :: atomic { !closed && WAITS_FOR_TIME(0) && WAITS_FOR_TIME(1) ->
       if :: silence < LEASE -> silence++ :: else fi;
       TICK(0);
       TICK(1) }
  :: atomic { freezes > 0 && believes[owner] -> freezes--; frozen[owner] = 1; wasFrozen[owner] = 1 }
  :: atomic { frozen[0] -> frozen[0] = 0 }
  :: atomic { frozen[1] -> frozen[1] = 0 }
  od
}

init { atomic { believes[0] = 1; run Process(0); run Process(1); run Time() } }
