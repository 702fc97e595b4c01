/*
 * The hand-over of commands to agents, with faults: a SPIN model of
 *
 *   server   control-server/src/lifecycle/{transition,sync,register,lease-policy}.ts, maintenance/sweeper.ts
 *   agent    agent/src/agent.ts, agent/src/decide/{answer,recover,lease}.ts, journal/journal.ts
 *
 * Names are those of the code. README.md beside this file says what is left out; check.mjs holds the configurations.
 *
 * A server turn is one atomic step (one transaction). A step of an agent is atomic up to a commit of its journal: it may
 * crash after each. An answer reaches the request it belongs to or nobody, as over HTTP.
 *
 * WHAT IS RUN (-D)
 *   NC, NP, MAXA    commands, agent processes, attempt numbers
 *   KINDS           bit c set: command c is resumable (DELAY), else one-shot (HTTP_GET_JSON)
 *   ATTEMPTS        retry.maxAttempts, 1 = no retries
 *   AUTO            takeover: auto
 *   CLOCK           leases have clocks, in ticks; without it a lease may be over at any moment: manual rests on no clock
 *   DUPID, CLONE    process 1 has the agent id of process 0: with a journal of its own; with a copy of the first one's
 *   CRASHES, LOSSES, LATES   how often: an agent is killed, a request or its answer is lost, a request arrives late or twice
 *   LIVES           how often a superseded process is started anew
 *   WIPE, ROLLBACK  a crash may lose the journal; may bring back an older copy of it
 *   WINDOW          ... even a copy that no logSeq can tell from the newest (a documented limit)
 *   RESTORE         the server is set back to a backup, once, and told so (--restored)
 *   STRANGER        ... to a backup that does not know every agent (a limit)
 *   DEADLINE        the command has an expiresAt
 *   HEARTBEAT       renewals from a thread of their own (CLOCK)
 *   GONE            the last agent may stay away for good after a crash
 *   LIVE            for liveness: nothing is bounded but faults; checks that every command becomes final
 *   REACH=n         asserts that n is never reached; must fail, or the run proves nothing
 *
 * GUARDS TAKEN OUT (-D, one at a time; each must give a counter-example)
 *   NO_GRANT NO_FENCE NO_FINAL NO_INTENT NO_SELF_FENCE NO_MARGIN LEASE_FROM_ANSWER NO_START_CHECK NO_RESUME_CHECK PRUNE_ON_ACK
 *   NO_SEQ NO_CAS NO_TRUST NO_TRUST_LOST COUNT_RECOVERY NO_EPOCH NO_INVENTORY NO_ECHO SWEEP_RECOVERY CONCLUDE_RECOVERY ADOPT_ACCEPTED NO_ADOPT_COUNT
 *   NO_GIVE_UP (liveness)
 */
#ifndef NC
#define NC 1
#endif
#ifndef NP
#define NP 2
#endif
#ifndef MAXA
#define MAXA 2
#endif
#ifndef KINDS
#define KINDS 0
#endif
#ifndef ATTEMPTS
#define ATTEMPTS 1
#endif
#ifndef CRASHES
#define CRASHES 1
#endif
#ifndef LOSSES
#define LOSSES 1
#endif
#ifndef LATES
#define LATES 0
#endif
#ifndef LIVES
#define LIVES 1
#endif
#ifndef REACH
#define REACH 0
#endif

#define NB (NC*MAXA)
#define BIT(c,n) ((c)*MAXA + (n) - 1)
#define M(b) (1 << (b))
#define ALL(c) (((1 << MAXA) - 1) << ((c)*MAXA))
#define RESUMABLE(b) ((KINDS >> ((b)/MAXA)) & 1)

#if defined(DUPID) || defined(CLONE)
#define NA 1
#define AID(p) 0
#else
#define NA NP
#define AID(p) (p)
#endif

/* ---------------------------------------------------------------- server: command and newest attempt */
#define WAITING 0
#define OFFERED 1
#define RUNNING 2
#define LOST 3
#define COMPLETED 4
#define FAILED 5
#define FINAL(x) ((x) >= COMPLETED)

byte phase[NC];
byte newest[NC];                  /* number of the newest attempt, 0 = none */
byte owner[NC];                   /* its agent */
byte grantedTo[NC];               /* the incarnation it was granted to, 0 = not granted */
byte grantedCount[NC];
byte takenOver[NC]; byte takenFrom[NC];   /* newest granted attempt where it is EXPIRED, 0 = none; its agent */
byte decidedBy[NC];               /* attempt whose outcome is the command's result */
byte outcome[NB];                 /* what each attempt reported: 0 nothing, else 1 + agent*2 + (1 = SUCCEEDED, 0 = INTERRUPTED) */

/* server: agents */
byte incarnation[NA];             /* 0 = not known */
byte trustedSince[NA]; byte journalOf[NA]; byte nonceOf[NA]; byte logSeqOf[NA];
bit inventoried[NA]; byte epochOf[NA];
byte epoch; bit recovering;

#ifdef RESTORE
byte b_phase[NC]; byte b_newest[NC]; byte b_owner[NC]; byte b_grantedTo[NC]; byte b_grantedCount[NC];
byte b_takenOver[NC]; byte b_takenFrom[NC]; byte b_decidedBy[NC]; byte b_outcome[NB];
byte b_incarnation[NA]; byte b_trustedSince[NA]; byte b_journalOf[NA]; byte b_nonceOf[NA]; byte b_logSeqOf[NA];
bit backedUp; bit restored;
#endif

/* ---------------------------------------------------------------- agent: journal */
#define NONE 0
#define ACCEPTED 1
#define STARTED 2
#define FINISHED 3                /* outcome SUCCEEDED */
#define FINISHED_INT 4            /* outcome INTERRUPTED */
#define REOPENED 5                /* FINISHED again in a new epoch; it had been acknowledged as `accepted` */
#define ACKED 6                   /* tombstones */
#define ACKED_INT 7
#define ACKED_DROPPED 8           /* dropped before it started: no outcome */
#define EVIDENCE 9                /* outcome SUCCEEDED, acknowledged with another verdict */

byte entry[NP*NB];
byte jIncarnation[NP]; byte jNonces[NP]; byte jLogSeq[NP]; byte jId[NP];
#define E(p,b) entry[(p)*NB + (b)]
#if defined(ROLLBACK) || defined(CLONE)
#define LOGGED(p) jLogSeq[p]++
#else
#define LOGGED(p) skip
#endif
#ifdef ROLLBACK
byte s_entry[NB]; byte s_incarnation; byte s_nonces; byte s_logSeq; byte s_id; bit snapshot;
#endif

/* agent: memory */
#ifdef RESTORE
bit inRecovery[NP];
#define RECOVERY(p,v) inRecovery[p] = v
#else
#define RECOVERY(p,v) skip
#endif
#if defined(RESTORE) && !defined(CONCLUDE_RECOVERY)
/* While the server takes in journals, an outcome that did not decide anything before may not decide now. */
#define DEFERS(p) inRecovery[p]
#else
#define DEFERS(p) 0
#endif
bit registered[NP]; byte epochIn[NP]; bit waiting[NP]; bit gone[NP];
#ifdef CLONE
bit cloned;
#endif
#ifdef CLONE
#define UP(p) ((p) == 0 || cloned)
#else
#define UP(p) 1
#endif
byte runs[NP];                  /* effects under way */
byte mayBegin[NP];                /* STARTED in the life before, resumable, not begun in this one */
byte shownRunning[NP];            /* what the request under way named as running */

/* ---------------------------------------------------------------- time: leases in ticks */
#ifndef LEASE
#define LEASE 1                   /* the agent's */
#endif
#ifdef NO_MARGIN
#define SERVER_LEASE LEASE
#else
#define SERVER_LEASE (LEASE + 1)  /* longer, by what stopping takes */
#endif
#ifdef CLOCK
byte leftA[NP];                   /* of the agent's lease, counted from the sending of what renewed it */
byte leftS[NA];                   /* of the server's, counted from its commit */
byte age[NP];                     /* of the request under way */
#define MUST_STOP(p) (leftA[p] == 0)
#define RENEW_S(a) leftS[a] = SERVER_LEASE
#ifdef LEASE_FROM_ANSWER
#define RENEW_A(p) leftA[p] = LEASE
#define GRANT_IN_TIME(p) 1
#else
#define RENEW_A(p) leftA[p] = (age[p] >= LEASE -> 0 : LEASE - age[p])
#define GRANT_IN_TIME(p) (age[p] < LEASE)
#endif
#else
#define RENEW_S(a) skip
#define RENEW_A(p) skip
#define GRANT_IN_TIME(p) 1
#endif
#ifdef NO_START_CHECK
#define MAY_START(p) 1
#else
#define MAY_START(p) GRANT_IN_TIME(p)
#endif
#ifdef NO_RESUME_CHECK
#define MAY_RESUME(p) 1
#else
#define MAY_RESUME(p) GRANT_IN_TIME(p)
#endif

/* ---------------------------------------------------------------- network: one request under way a process, one late one */
#define REGISTER 1
#define SYNC 2
#if LATES > 0
#define SLOTS (NP+1)
#else
#define SLOTS NP
#endif
#define LATE NP                   /* the slot of the late one */
byte q[SLOTS];                    /* 0 = empty */
byte qIncarnation[SLOTS];         /* REGISTER: previousIncarnation */
byte qNonce[SLOTS]; byte qNonces[SLOTS]; byte qJournal[SLOTS]; byte qEpoch[SLOTS]; byte qLogSeq[SLOTS];
byte qAccepted[SLOTS]; byte qRunning[SLOTS]; byte qFinished[SLOTS]; byte qInterrupted[SLOTS]; byte qNamed[SLOTS];
bit qStale[SLOTS];                /* its seq is not newer than the last one answered */
byte lateFrom; bit lateTwin;      /* whose; it is a copy of the one under way */

#define REGISTERED 1
#define SYNCED 2
#define IDENTITY_CONFLICT 3
#define REGISTER_AGAIN 4          /* NOT_REGISTERED, EPOCH_CHANGED */
#define SUPERSEDED 5
#define STALE_SYNC 6
byte r[NP];                       /* 0 = none */
byte rIncarnation[NP]; byte rEpoch[NP]; bit rRecovery[NP];
byte rOffers[NP]; byte rGrants[NP]; byte rAcks[NP]; byte rAccepted[NP]; byte rDrop[NP];
bit rOld[NP];                     /* belongs to an earlier request */

byte crashes = CRASHES; byte losses = LOSSES; byte lives = LIVES;
#if LATES > 0
byte lates = LATES;
#endif

/* ---------------------------------------------------------------- what is observed */
byte starts[NB]; byte tried[NC];
bit acknowledged[NB];             /* the agent was told `accepted` (or `duplicate`) for a SUCCEEDED outcome */

/* temporaries of atomic steps, always written before they are read */
hidden byte f, a, b, c, n, i, k, x, y, over, may, mine, offer, was;
hidden byte t_offers, t_grants, t_acks, t_accepted, t_drop;

/* R4: final is final */
inline to(c_, p_) { assert(!FINAL(phase[c_])); phase[c_] = p_; printf("  server: command %d, newest attempt %d -> phase %d\n", c_, newest[c_], p_) }

/* R3: an outcome that was acknowledged is the one the server has */
inline final(c_, p_, n_) {
  to(c_, p_); decidedBy[c_] = n_;
  assert((p_) != COMPLETED || REACH != 1);
  k = 0;
  do
  :: k < MAXA -> assert(!acknowledged[(c_)*MAXA + k] || ((p_) == COMPLETED && (n_) == k + 1)); k++
  :: else -> break
  od; k = 0
}

/* ================================================================ server */

inline lose(c_) { to(c_, LOST); assert(REACH != 2) }

inline finish(c_, n_, ok_) {      /* an outcome of attempt n_ of agent a; what it makes of the command */
  y = BIT(c_, n_);
  if
  :: outcome[y] == 1 + a*2 + (ok_) -> t_accepted = t_accepted | M(y)              /* duplicate */
#if defined(NO_FENCE)
  :: outcome[y] != 1 + a*2 + (ok_) && (phase[c_] == RUNNING || phase[c_] == LOST) && owner[c_] == a ->
#elif defined(NO_FINAL)
  :: outcome[y] != 1 + a*2 + (ok_) && newest[c_] == (n_) && owner[c_] == a ->
#else
  :: outcome[y] != 1 + a*2 + (ok_) && (phase[c_] == RUNNING || phase[c_] == LOST) && newest[c_] == (n_) && owner[c_] == a ->
#endif
     assert(newest[c_] == (n_));                                                   /* R5 */
     outcome[y] = 1 + a*2 + (ok_); t_accepted = t_accepted | M(y);
     if
     :: ok_ -> final(c_, COMPLETED, n_)
     :: !(ok_) && grantedCount[c_] < ATTEMPTS -> to(c_, WAITING); assert(REACH != 3)
     :: else -> final(c_, FAILED, n_)
     fi
  :: outcome[y] != 1 + a*2 + (ok_) && (phase[c_] == WAITING || phase[c_] == OFFERED) && takenOver[c_] == (n_) && takenFrom[c_] == a ->
     outcome[y] = 1 + a*2 + (ok_); t_accepted = t_accepted | M(y); takenOver[c_] = 0; takenFrom[c_] = 0;
     if
     :: ok_ -> final(c_, COMPLETED, n_)
     :: else                                                                       /* reportedLate */
     fi
  :: else                                                                          /* superseded, rejected: evidence */
  fi; y = 0
}

inline adopt(c_, n_, granted_) {  /* a journal proves an attempt that this database never saw */
  mine = (newest[c_] == (n_) && owner[c_] == a && phase[c_] == OFFERED);
  if
  :: FINAL(phase[c_]) || ((n_) <= newest[c_] && !mine) || (mine && !(granted_)) -> skip
  :: else ->
     if
     :: granted_ -> takenOver[c_] = 0; takenFrom[c_] = 0
     :: !(granted_) && (phase[c_] == RUNNING || phase[c_] == LOST) -> takenOver[c_] = newest[c_]; takenFrom[c_] = owner[c_]
     :: else
     fi;
     k = (mine -> 1 : (n_) - newest[c_] + (phase[c_] == OFFERED -> 1 : 0));
     newest[c_] = n_; owner[c_] = a;
     grantedTo[c_] = ((granted_) -> qIncarnation[s] : 0);
#ifdef NO_ADOPT_COUNT
     grantedCount[c_] = grantedCount[c_] + ((granted_) -> 1 : 0);
#else
     /* Every attempt between may have been granted as well, and so may what stood as an offer. */
     if
     :: granted_ -> grantedCount[c_] = grantedCount[c_] + k
     :: else -> grantedCount[c_] = grantedCount[c_] + k - 1
     fi; k = 0;
#endif
     to(c_, ((granted_) -> RUNNING : OFFERED))
  fi
}

inline held(b_) {                 /* one item of the inventory; the table of docs/protocol.md */
  c = (b_) / MAXA; n = (b_) % MAXA + 1;
  if
#ifdef ADOPT_ACCEPTED
  :: recovering -> adopt(c, n, !(qAccepted[s] & M(b_)))
#else
  :: recovering && !(qAccepted[s] & M(b_)) -> adopt(c, n, 1)                       /* what was only accepted never ran */
#endif
  :: else
  fi;
  mine = (newest[c] == n && owner[c] == a && (phase[c] == OFFERED || phase[c] == RUNNING || phase[c] == LOST));
  if
  :: qNamed[s] & M(b_) ->         /* finished, its outcome comes later: held all the same */
     if
     :: mine && phase[c] == LOST -> to(c, RUNNING)
     :: else
     fi
  :: (qFinished[s] | qInterrupted[s]) & M(b_) ->
     t_acks = t_acks | M(b_);
     if
     :: qFinished[s] & M(b_) -> finish(c, n, 1)
     :: else -> finish(c, n, 0)
     fi
  :: !((qNamed[s] | qFinished[s] | qInterrupted[s]) & M(b_)) && !mine -> t_drop = t_drop | M(b_)
  :: (qRunning[s] & M(b_)) && mine ->
     if
#ifdef NO_GRANT
     :: phase[c] == OFFERED -> to(c, RUNNING); grantedCount[c]++; grantedTo[c] = qIncarnation[s]
#else
     :: phase[c] == OFFERED -> t_drop = t_drop | M(b_)
#endif
     :: phase[c] == LOST -> to(c, RUNNING)                                         /* return */
     :: else
     fi
  :: (qAccepted[s] & M(b_)) && mine ->
     if
     :: recovering -> skip
     :: !recovering && phase[c] == OFFERED ->                                      /* grant */
        to(c, RUNNING); grantedTo[c] = qIncarnation[s]; grantedCount[c]++; takenOver[c] = 0; takenFrom[c] = 0;
        t_grants = t_grants | M(b_)
     :: !recovering && phase[c] != OFFERED ->                                      /* regrant */
#if defined(NO_TRUST)
        may = 1;
#elif defined(NO_TRUST_LOST)
        may = (grantedTo[c] >= trustedSince[a] || phase[c] == LOST);
#else
        may = (grantedTo[c] >= trustedSince[a]);
#endif
        if
        :: may ->
           if
           :: phase[c] == LOST -> to(c, RUNNING)
           :: else
           fi;
           grantedTo[c] = qIncarnation[s]; t_grants = t_grants | M(b_)
        :: !may && phase[c] == RUNNING -> lose(c); t_drop = t_drop | M(b_); assert(REACH != 4)
        :: else -> t_drop = t_drop | M(b_)
        fi
     fi
  fi
}

#define HELD(s) (qAccepted[s] | qRunning[s] | qNamed[s] | qFinished[s] | qInterrupted[s])

inline answerSync() {             /* request in slot s, of process f, agent a; `offer`: the commands that fit it */
  t_offers = 0; t_grants = 0; t_acks = 0; t_accepted = 0; t_drop = 0;
  if
  :: incarnation[a] == 0 || qEpoch[s] != epoch || epochOf[a] != epoch -> x = REGISTER_AGAIN
  :: incarnation[a] != 0 && qEpoch[s] == epoch && epochOf[a] == epoch && qIncarnation[s] < incarnation[a] -> x = SUPERSEDED
  :: incarnation[a] != 0 && qEpoch[s] == epoch && epochOf[a] == epoch && qIncarnation[s] > incarnation[a] -> x = REGISTER_AGAIN
#ifndef NO_SEQ
  :: incarnation[a] != 0 && qEpoch[s] == epoch && epochOf[a] == epoch && qIncarnation[s] == incarnation[a] && qStale[s] -> x = STALE_SYNC
#endif
  :: incarnation[a] != 0 && qEpoch[s] == epoch && epochOf[a] == epoch && qIncarnation[s] == incarnation[a] && !qStale[s] && qLogSeq[s] < logSeqOf[a] -> x = REGISTER_AGAIN
  :: else -> x = SYNCED
  fi;
  was = x;
  printf("server answers sync of agent %d, incarnation %d: answer %d; accepted %d, running %d, named %d, finished %d, interrupted %d\n",
    f, qIncarnation[s], x, qAccepted[s], qRunning[s], qNamed[s], qFinished[s], qInterrupted[s]);
  if
  :: was == SYNCED ->
     b = NB;
     do
     :: b > 0 ->
        b--;
        if
        :: HELD(s) & M(b) -> held(b)
        :: else
        fi
     :: else -> break
     od;
     /* by absence, then new offers */
     c = 0;
     do
     :: c < NC ->
        b = (newest[c] == 0 -> 0 : BIT(c, newest[c]));
        if
        :: newest[c] != 0 && owner[c] == a && !(HELD(s) & M(b)) ->
           if
           :: phase[c] == OFFERED && !recovering -> t_offers = t_offers | M(b)
           :: phase[c] == OFFERED && recovering -> to(c, WAITING)                  /* withdraw */
           :: phase[c] == RUNNING ->
#ifdef NO_GRANT
              t_offers = t_offers | M(b)
#else
              /* LOST is never said of what the agent's journal holds */
              assert(E(f,b) == NONE || E(f,b) >= ACKED);
              lose(c)
#endif
           :: else
           fi
        :: else
        fi;
        if
        :: phase[c] == WAITING && !recovering && ((offer >> c) & 1) && newest[c] < MAXA ->      /* offer */
           to(c, OFFERED); newest[c]++; owner[c] = a; grantedTo[c] = 0; t_offers = t_offers | M(BIT(c, newest[c]))
        :: else
        fi;
        c++
     :: else -> break
     od; c = 0; b = 0;
     inventoried[a] = 1; RENEW_S(a);
     logSeqOf[a] = qLogSeq[s];
     /* seq: what was sent with this one or before it is stale now */
#if LATES > 0
     if
     :: s != LATE && q[LATE] == SYNC && lateFrom == f -> qStale[LATE] = 1
     :: s == LATE && lateTwin && q[f] == SYNC -> qStale[f] = 1
     :: else
     fi;
#endif
     if
     :: recovering ->
        may = 1; i = 0;
        do
        :: i < NA -> may = may && (i == a || incarnation[i] == 0 || (epochOf[i] == epoch && inventoried[i])); i++
        :: else -> break
        od; i = 0;
        if
        :: may -> was = 0; recovering = 0; assert(REACH != 5)
        :: else
        fi
     :: else
     fi
  :: else
  fi;
  if
  :: s < NP ->
     r[f] = x; rOld[f] = 0; rRecovery[f] = (recovering || (x == SYNCED && was == 0));
     rOffers[f] = t_offers; rGrants[f] = t_grants; rAcks[f] = t_acks; rAccepted[f] = t_accepted; rDrop[f] = t_drop
  :: else
  fi
}

#if !defined(CLOCK)
#define LEASE_OVER(a_) over
#else
#define LEASE_OVER(a_) (leftS[a_] == 0)
#endif

#define SAME_JOURNAL (incarnation[a] == 0 || journalOf[a] == qJournal[s])

inline register() {               /* compare-and-swap; `over`: whether the lease of the current one is, without clocks */
  was = (epochOf[a] == epoch);    /* sameEpoch */
  mine = (journalOf[a] == qJournal[s] && (incarnation[a] == qIncarnation[s] || (nonceOf[a] != 0 && (qNonces[s] & M(nonceOf[a])))));   /* successor */
#ifdef NO_CAS
  mine = 1;
#endif
  if
  :: incarnation[a] != 0 && was && nonceOf[a] == qNonce[s] -> x = REGISTERED       /* repeated: the same answer */
  :: incarnation[a] != 0 && !(was && nonceOf[a] == qNonce[s]) && (was -> !mine : !SAME_JOURNAL) && !LEASE_OVER(a) -> x = IDENTITY_CONFLICT
  :: else ->
     x = REGISTERED;
#if defined(CLOCK) && !defined(CLONE)
     /* An identity is not taken from another process that is within its lease. */
     i = 0;
     do
     :: i < NP -> assert(i == f || AID(i) != a || !registered[i] || jIncarnation[i] != incarnation[a] || leftA[i] == 0); i++
     :: else -> break
     od; i = 0;
#endif
     n = (incarnation[a] > qIncarnation[s] -> incarnation[a] : qIncarnation[s]) + 1;
     may = SAME_JOURNAL;
     if
     :: !may ->
        c = 0;
        do
        :: c < NC ->
           if
           :: newest[c] != 0 && owner[c] == a && phase[c] == OFFERED -> to(c, WAITING)
           :: newest[c] != 0 && owner[c] == a && phase[c] == RUNNING -> lose(c)
           :: else
           fi;
           c++
        :: else -> break
        od; c = 0
     :: else
     fi;
     if
     :: !may || (incarnation[a] != 0 && (qLogSeq[s] < logSeqOf[a] || (!mine && (was || qIncarnation[s] < incarnation[a])))) -> trustedSince[a] = n
     :: else
     fi;
     incarnation[a] = n; journalOf[a] = qJournal[s]; nonceOf[a] = qNonce[s]; logSeqOf[a] = qLogSeq[s];
     epochOf[a] = epoch; inventoried[a] = 0; RENEW_S(a)
  fi;
  printf("server answers registration of agent %d: kind %d, incarnation %d, trustedSince %d\n", f, x, incarnation[a], trustedSince[a]);
  if
  :: s < NP -> r[f] = x; rOld[f] = 0; rRecovery[f] = recovering; rIncarnation[f] = incarnation[a]; rEpoch[f] = epoch
  :: else
  fi
}

inline emptySlot(s_) {
  q[s_] = 0; qIncarnation[s_] = 0; qNonces[s_] = 0; qJournal[s_] = 0; qEpoch[s_] = 0; qLogSeq[s_] = 0;
  qAccepted[s_] = 0; qRunning[s_] = 0; qFinished[s_] = 0; qInterrupted[s_] = 0; qNamed[s_] = 0; qStale[s_] = 0
}

inline toLate(p_) {               /* the request of p_ will be late */
  q[LATE] = q[p_]; qIncarnation[LATE] = qIncarnation[p_]; qNonce[LATE] = qNonce[p_]; qNonces[LATE] = qNonces[p_];
  qJournal[LATE] = qJournal[p_]; qEpoch[LATE] = qEpoch[p_]; qLogSeq[LATE] = qLogSeq[p_]; qAccepted[LATE] = qAccepted[p_];
  qRunning[LATE] = qRunning[p_]; qFinished[LATE] = qFinished[p_]; qInterrupted[LATE] = qInterrupted[p_]; qNamed[LATE] = qNamed[p_];
  qStale[LATE] = qStale[p_]; lateFrom = p_
}

#ifdef LIVE
#define CHOOSE(v) v = 1
#else
#define CHOOSE(v) if :: v = 1 :: v = 0 fi
#endif

/* Which commands fit what the agent wants, bit c for command c. */
#if defined(LIVE)
#define CHOOSE_FITTING fits = (1 << NC) - 1
#elif NC == 1
#define CHOOSE_FITTING CHOOSE(fits)
#else
#define CHOOSE_FITTING if :: fits = 0 :: fits = 1 :: fits = 2 :: fits = 3 fi
#endif

proctype Server(byte s) {
  byte fits, isOver;
  do
  :: atomic { q[s] != 0 && (s == LATE || r[s] == 0 || rOld[s]) ->
#if LATES > 0
     if
     :: s < NP && lates > 0 && q[LATE] == 0 -> lates--; toLate(s); lateTwin = 1     /* sent twice */
     :: skip
     fi;
#endif
     if
     :: q[s] == SYNC -> CHOOSE_FITTING
     :: else ->
#ifdef CLOCK
        skip
#else
        CHOOSE(isOver)
#endif
     fi;
     d_step {
       offer = fits; over = isOver; f = s;
#if LATES > 0
       if
       :: s == LATE -> f = lateFrom
       :: else
       fi;
#endif
       a = AID(f);
       if
       :: q[s] == REGISTER -> register()
       :: else -> answerSync()
       fi;
       emptySlot(s); fits = 0; isOver = 0;
#if LATES > 0
       if
       :: s == LATE -> qNonce[s] = 0; lateFrom = 0; lateTwin = 0
       :: else
       fi;
#endif
       f = 0; a = 0; x = 0; n = 0; may = 0; mine = 0; was = 0; offer = 0; over = 0
     } }
  od
}

/* The sweeper, and time. */
#ifdef SWEEP_RECOVERY
#define SWEEPS 1
#else
#define SWEEPS (!recovering)
#endif
#ifdef CLOCK
#define SILENT(c_) (leftS[owner[c_]] == 0)
#else
#define SILENT(c_) 1
#endif
#ifdef LIVE
#define MAY_WITHDRAW(c_) (newest[c_] < MAXA - 1 || (newest[c_] < MAXA && gone[owner[c_]]))
#else
#define MAY_WITHDRAW(c_) (newest[c_] < MAXA)
#endif

inline leaseOver(c_) {
#ifdef AUTO
  if
  :: grantedCount[c_] < ATTEMPTS -> to(c_, WAITING); takenOver[c_] = newest[c_]; takenFrom[c_] = owner[c_]; assert(REACH != 6)
  :: else -> lose(c_)
  fi
#else
  lose(c_)
#endif
}

proctype Sweeper() {
  byte cc = 0;
  do
  :: d_step { phase[cc] == OFFERED && MAY_WITHDRAW(cc) && SWEEPS -> to(cc, WAITING) }
  :: d_step { phase[cc] == RUNNING && SILENT(cc) && SWEEPS -> leaseOver(cc) }
#ifndef NO_GIVE_UP
  :: d_step { phase[cc] == LOST && SWEEPS -> final(cc, FAILED, 0) }                /* givenUp */
#endif
#ifdef DEADLINE
  :: d_step { (phase[cc] == WAITING || phase[cc] == OFFERED) && grantedCount[cc] == 0 && SWEEPS -> final(cc, FAILED, 0) }
#endif
#if NC > 1
  :: d_step { cc < NC - 1 -> cc++ }
  :: d_step { cc > 0 -> cc = 0 }
#endif
  od
}

#ifdef CLOCK
/* A tick passes only when every agent has done what it does at once: fence. */
#ifdef NO_SELF_FENCE
#define FENCED(p) 1
#else
#define FENCED(p) (!MUST_STOP(p) || runs[p] == 0)
#endif
#if NP == 1
#define ALL_FENCED FENCED(0)
#else
#define ALL_FENCED (FENCED(0) && FENCED(1))
#endif
proctype Clock() {
  do
  :: d_step { ALL_FENCED && (leftA[0] != 0 || leftS[0] != 0 || (waiting[0] && age[0] < LEASE)
#if NP > 1
       || leftA[1] != 0 || leftS[NA-1] != 0 || (waiting[1] && age[1] < LEASE)
#endif
       ) ->
     printf("tick\n"); i = 0;
     do
     :: i < NP ->
        if
        :: leftA[i] > 0 -> leftA[i]--
        :: else
        fi;
        if
        :: waiting[i] && age[i] < LEASE -> age[i]++
        :: else
        fi;
        i++
     :: else -> break
     od;
     i = 0;
     do
     :: i < NA ->
        if
        :: leftS[i] > 0 -> leftS[i]--
        :: else
        fi;
        i++
     :: else -> break
     od; i = 0 }
  od
}
#endif

/* ================================================================ agent */

inline begin(p_, b_) {
  printf("agent %d: the effect of bit %d begins\n", p_, b_);
  i = 0;                          /* R6: no two attempts of one command at a time */
  do
  :: i < NP -> assert((runs[i] & ALL((b_)/MAXA) & ~M(b_)) == 0); i++
  :: else -> break
  od; i = 0;
  runs[p_] = runs[p_] | M(b_); mayBegin[p_] = mayBegin[p_] & ~M(b_)
}

inline started(b_) {              /* R1: an attempt starts once; R7: a command as often as was asked for */
  starts[b_]++; assert(starts[b_] <= 1);
  tried[(b_)/MAXA]++; assert(tried[(b_)/MAXA] <= ATTEMPTS)
}

inline stopRuns(p_) { runs[p_] = 0; mayBegin[p_] = 0 }

inline fence(p_) {
#if defined(CLOCK) && !defined(NO_SELF_FENCE)
  if
  :: MUST_STOP(p_) && runs[p_] != 0 ->
     b = 0;
     do
     :: b < NB ->
        if
        :: (runs[p_] & M(b)) && E(p_,b) == STARTED -> printf("agent %d: fenced\n", p_); E(p_,b) = FINISHED_INT; LOGGED(p_)
        :: else
        fi;
        b++
     :: else -> break
     od;
     b = 0; runs[p_] = 0
  :: else
  fi
#else
  skip
#endif
}

/* A new life of the process: what `recover` makes of the journal. */
inline boot(p_) {
  printf("agent %d: a new life\n", p_);
  registered[p_] = 0; epochIn[p_] = 0; RECOVERY(p_, 0); stopRuns(p_);
#ifdef CLOCK
  leftA[p_] = 0;
#endif
  b = 0;
  do
  :: b < NB ->
     if
     :: E(p_,b) == STARTED && RESUMABLE(b) -> mayBegin[p_] = mayBegin[p_] | M(b)
     :: E(p_,b) == STARTED && !RESUMABLE(b) ->
        E(p_,b) = FINISHED_INT;
#ifdef COUNT_RECOVERY
        LOGGED(p_)
#endif
     :: else
     fi;
     b++
  :: else -> break
  od; b = 0
}

inline forgetAnswer(p_) {
  r[p_] = 0; rIncarnation[p_] = 0; rEpoch[p_] = 0; rRecovery[p_] = 0; rOffers[p_] = 0; rGrants[p_] = 0; rAcks[p_] = 0;
  rAccepted[p_] = 0; rDrop[p_] = 0; rOld[p_] = 0
}

/* Nobody waits for it any more: the request is lost, or late; its answer goes nowhere. */
inline giveUp(p_) {
#if LATES > 0
  if
  :: q[p_] != 0 && lates > 0 && q[LATE] == 0 -> lates--; toLate(p_); lateTwin = 0
  :: skip
  fi;
#endif
  d_step {
    printf("agent %d: no answer\n", p_);
    emptySlot(p_); qNonce[p_] = 0;
#if LATES > 0
    if
    :: lateFrom == p_ -> lateTwin = 0
    :: else
    fi;
#endif
    waiting[p_] = 0; shownRunning[p_] = 0;
#ifdef CLOCK
    age[p_] = 0;
#endif
#ifdef NO_ECHO
    rOld[p_] = (r[p_] != 0)
#else
    forgetAnswer(p_)
#endif
  }
}

/* An older journal can be told from the newest where it did not accept what was started since, or names another
   incarnation than the server's, or fewer writes than the server knows of. */
#ifdef ROLLBACK
#define STARTED_SINCE(b) (s_entry[b] == ACCEPTED && E(0,b) != ACCEPTED && E(0,b) != ACKED_DROPPED)
#ifdef WINDOW
#define SEEN 1
#else
#if NB == 1
#define ANY_SINCE STARTED_SINCE(0)
#elif NB == 2
#define ANY_SINCE (STARTED_SINCE(0) || STARTED_SINCE(1))
#else
#define ANY_SINCE (STARTED_SINCE(0) || STARTED_SINCE(1) || STARTED_SINCE(2) || (NB > 3 && STARTED_SINCE(NB-1)))
#endif
#define SUCCEEDS (s_incarnation == incarnation[0] || (nonceOf[0] != 0 && (s_nonces & M(nonceOf[0]))))
#define SEEN (!ANY_SINCE || !SUCCEEDS || s_logSeq < logSeqOf[0])
#endif
#endif

inline crash(p_) {
  giveUp(p_);
#ifdef NO_ECHO
  forgetAnswer(p_);
#endif
#ifdef WIPE
  if
  :: jId[p_] < NP ->
     d_step { printf("journal lost\n"); jId[p_] = jId[p_] + NP; b = 0; do :: b < NB -> E(p_,b) = NONE; b++ :: else -> break od; b = 0;
       jIncarnation[p_] = 0; jNonces[p_] = 0; jLogSeq[p_] = 0 }
  :: skip
  fi;
#endif
#ifdef ROLLBACK
  if
  :: (p_) == 0 && snapshot && SEEN ->
     d_step { printf("journal set back\n"); b = 0; do :: b < NB -> E(0,b) = s_entry[b]; b++ :: else -> break od; b = 0;
       jIncarnation[0] = s_incarnation; jNonces[0] = s_nonces; jLogSeq[0] = s_logSeq; assert(REACH != 7) }
  :: skip
  fi;
#endif
#ifdef GONE
  if
  :: (p_) == NP - 1 -> gone[p_] = 1
  :: skip
  fi;
#endif
  d_step { boot(p_) }
}

inline send(p_) {
  d_step {
  waiting[p_] = 1;
#ifdef CLOCK
  age[p_] = 0;
#endif
#if LATES > 0
  if
  :: lateFrom == p_ -> lateTwin = 0
  :: else
  fi;
#endif
  qLogSeq[p_] = jLogSeq[p_];
  if
  :: !registered[p_] ->
     /* a nonce that nobody else knows */
     x = 0; i = 0;
     do :: i < NP -> x = x | jNonces[i] | M(qNonce[i]) | qNonces[i]; i++ :: else -> break od;
     i = 0;
     do :: i < NA -> x = x | M(nonceOf[i]); i++ :: else -> break od;
#ifdef RESTORE
     i = 0;
     do :: i < NA -> x = x | M(b_nonceOf[i]); i++ :: else -> break od;
#endif
#ifdef ROLLBACK
     x = x | s_nonces;
#endif
#if LATES > 0
     x = x | M(qNonce[LATE]) | qNonces[LATE];
#endif
     n = 1;
     do :: x & M(n) -> n++ :: else -> break od;
     assert(n < 8);
     q[p_] = REGISTER; qIncarnation[p_] = jIncarnation[p_]; qNonces[p_] = jNonces[p_]; qNonce[p_] = n; qJournal[p_] = jId[p_];
     jNonces[p_] = jNonces[p_] | M(n)
  :: else ->
     q[p_] = SYNC; qIncarnation[p_] = jIncarnation[p_]; qEpoch[p_] = epochIn[p_];
     b = 0;
     do
     :: b < NB ->
        if
        :: E(p_,b) == ACCEPTED -> qAccepted[p_] = qAccepted[p_] | M(b)
        :: E(p_,b) == STARTED -> qRunning[p_] = qRunning[p_] | M(b)
        :: (E(p_,b) == FINISHED || E(p_,b) == FINISHED_INT) && DEFERS(p_) -> qNamed[p_] = qNamed[p_] | M(b)
        :: E(p_,b) == REOPENED || (E(p_,b) == FINISHED && !DEFERS(p_)) -> qFinished[p_] = qFinished[p_] | M(b)
        :: E(p_,b) == FINISHED_INT && !DEFERS(p_) -> qInterrupted[p_] = qInterrupted[p_] | M(b)
        :: else
        fi;
        b++
     :: else -> break
     od;
     shownRunning[p_] = qRunning[p_]
  fi;
  x = 0; i = 0; n = 0; b = 0
  }
}

/* The first commit after an answer: acks, reopened and accepted offers, drops. */
inline settle(p_) {
  printf("agent %d settles: offers %d, grants %d, acks %d, drop %d\n", p_, rOffers[p_], rGrants[p_], rAcks[p_], rDrop[p_]);
  b = 0;
  do
  :: b < NB ->
     if
     :: (rAcks[p_] & M(b)) && E(p_,b) >= FINISHED && E(p_,b) <= REOPENED ->
        if
        :: E(p_,b) != FINISHED_INT && (rAccepted[p_] & M(b)) -> acknowledged[b] = 1;
#ifndef RESTORE
           assert(phase[b/MAXA] == COMPLETED && decidedBy[b/MAXA] == b%MAXA + 1)    /* R3 */
#endif
        :: else
        fi;
#ifdef PRUNE_ON_ACK
        E(p_,b) = NONE;
#else
        E(p_,b) = (E(p_,b) == FINISHED_INT -> ACKED_INT : ((rAccepted[p_] & M(b)) -> ACKED : EVIDENCE));
#endif
        LOGGED(p_)
     :: (rDrop[p_] & M(b)) && E(p_,b) == ACCEPTED -> E(p_,b) = ACKED_DROPPED; LOGGED(p_)
     :: (rDrop[p_] & M(b)) && E(p_,b) == STARTED ->
        E(p_,b) = ACKED_INT; runs[p_] = runs[p_] & ~M(b); mayBegin[p_] = mayBegin[p_] & ~M(b); LOGGED(p_)
     :: (rOffers[p_] & M(b)) && (E(p_,b) == NONE || E(p_,b) == ACKED_DROPPED) ->
        E(p_,b) = ACCEPTED; LOGGED(p_)
     :: (rOffers[p_] & M(b)) && (E(p_,b) == ACKED || E(p_,b) == ACKED_INT || E(p_,b) == EVIDENCE) ->   /* reopen */
        E(p_,b) = (E(p_,b) == ACKED_INT -> FINISHED_INT : FINISHED); LOGGED(p_)
     :: else
     fi;
     b++
  :: else -> break
  od; b = 0
}

/* What the answer confirms as running, and has not begun in this life, goes on. */
inline resume(p_) {
  b = 0;
  do
  :: b < NB ->
     if
     :: (shownRunning[p_] & M(b)) && E(p_,b) == STARTED && (mayBegin[p_] & M(b)) && !(rDrop[p_] & M(b)) && !rRecovery[p_] && MAY_RESUME(p_) -> begin(p_, b)
     :: else
     fi;
     b++
  :: else -> break
  od; b = 0
}

#ifdef NO_GRANT
#define STARTS(p) rOffers[p]
#else
#define STARTS(p) rGrants[p]
#endif
#define TO_START(p,b) ((STARTS(p) & M(b)) && E(p,b) == ACCEPTED && !(rDrop[p] & M(b)) && MAY_START(p))

inline commitStarts(p_) {
  b = 0;
  do
  :: b < NB ->
     if
     :: TO_START(p_, b) -> printf("agent %d: bit %d STARTED\n", p_, b); E(p_,b) = STARTED; mayBegin[p_] = mayBegin[p_] | M(b); LOGGED(p_)
     :: else
     fi;
     b++
  :: else -> break
  od; b = 0
}

inline beginStarts(p_) {
  b = 0;
  do
  :: b < NB ->
#ifdef NO_INTENT
     if
     :: TO_START(p_, b) -> started(b); begin(p_, b)
     :: else
     fi;
#else
     if
     :: (STARTS(p_) & M(b)) && E(p_,b) == STARTED && (mayBegin[p_] & M(b)) && MAY_START(p_) -> started(b); begin(p_, b)
     :: else
     fi;
#endif
     b++
  :: else -> break
  od; b = 0
}

#ifdef NO_ECHO
#define IGNORED(p) 0
#else
#define IGNORED(p) rOld[p]
#endif

inline endAnswer(p_) {
  waiting[p_] = 0; shownRunning[p_] = 0; qNonce[p_] = 0; forgetAnswer(p_);
#ifdef CLOCK
  age[p_] = 0
#else
  skip
#endif
}

#define BEATS(p) (registered[p] && leftA[p] != 0 && incarnation[AID(p)] == jIncarnation[p] && epochOf[AID(p)] == epoch && epochIn[p] == epoch)

proctype Agent(byte p) {
  do
  :: atomic { !waiting[p] && !gone[p] && UP(p) -> send(p) }

  :: atomic { r[p] != 0 && (waiting[p] || rOld[p]) ->
     if
     :: IGNORED(p) -> d_step { forgetAnswer(p) }
     :: !IGNORED(p) && r[p] == REGISTERED ->
        d_step {
          fence(p);
          b = 0;
          do
          :: b < NB ->
             if
             :: rRecovery[p] && E(p,b) == ACKED -> E(p,b) = REOPENED                                 /* reopenAll */
             :: rRecovery[p] && E(p,b) == ACKED_INT -> E(p,b) = FINISHED_INT
             :: rRecovery[p] && E(p,b) == EVIDENCE -> E(p,b) = FINISHED
             :: else
             fi;
             b++
          :: else -> break
          od; b = 0;
          jIncarnation[p] = rIncarnation[p]; jNonces[p] = 0; registered[p] = 1;
          epochIn[p] = rEpoch[p]; RECOVERY(p, rRecovery[p]);
          RENEW_A(p); endAnswer(p) }
     :: !IGNORED(p) && r[p] == SYNCED ->
        d_step { fence(p); RENEW_A(p); RECOVERY(p, rRecovery[p]); settle(p); resume(p) }
        if
        :: STARTS(p) == 0 -> d_step { endAnswer(p) }
        :: STARTS(p) != 0 && crashes > 0 -> crashes--; crash(p)
        :: STARTS(p) != 0 ->
#ifdef NO_INTENT
           d_step { beginStarts(p) }
           if
           :: crashes > 0 -> crashes--; crash(p)
           :: d_step { commitStarts(p); mayBegin[p] = 0; endAnswer(p) }
           fi
#else
           d_step { commitStarts(p) }
           if
           :: crashes > 0 -> crashes--; crash(p)
           :: d_step { beginStarts(p); endAnswer(p) }
           fi
#endif
        fi
     :: !IGNORED(p) && r[p] == IDENTITY_CONFLICT ->
        d_step {                  /* it asks again; the nonce was never the server's, so it may be forgotten here */
#if LATES > 0
          if
          :: q[LATE] == REGISTER && qNonce[LATE] == qNonce[p] -> skip
          :: else -> jNonces[p] = jNonces[p] & ~M(qNonce[p])
          fi;
#else
          jNonces[p] = jNonces[p] & ~M(qNonce[p]);
#endif
          endAnswer(p) }
     :: !IGNORED(p) && r[p] == REGISTER_AGAIN -> d_step { registered[p] = 0; epochIn[p] = 0; RECOVERY(p, 0); endAnswer(p) }
     :: !IGNORED(p) && r[p] == SUPERSEDED ->
        d_step {                  /* exits; a supervisor starts it anew */
          printf("agent %d is superseded, exits\n", p);
          endAnswer(p); boot(p);
          if
          :: lives > 0 -> lives--
          :: else -> gone[p] = 1
          fi }
     :: !IGNORED(p) && r[p] == STALE_SYNC -> d_step { endAnswer(p) }
     fi }

  :: atomic { waiting[p] && losses > 0 -> losses--; giveUp(p) }
  :: atomic { crashes > 0 && !gone[p] && UP(p) -> crashes--; crash(p) }
#if defined(CLOCK) && !defined(NO_SELF_FENCE)
  :: d_step { MUST_STOP(p) && runs[p] != 0 -> fence(p) }
#endif
#ifdef HEARTBEAT
  /* Renews what is not over yet; a late one only makes the server wait longer. */
  :: d_step { BEATS(p) && leftA[p] < LEASE -> RENEW_S(AID(p)); leftA[p] = LEASE }
  :: d_step { BEATS(p) && leftS[AID(p)] < SERVER_LEASE -> RENEW_S(AID(p)) }
#endif
  od
}

/* Effects come to their end. */
inline ends(p_) {
  b = 0;
  do
  :: (runs[p_] & M(b)) -> break
  :: else -> b++
  od;
  runs[p_] = runs[p_] & ~M(b); printf("agent %d: the effect of bit %d ends\n", p_, b);
  if
  :: E(p_,b) == STARTED || E(p_,b) == ACCEPTED -> E(p_,b) = FINISHED; LOGGED(p_)
  :: else
  fi;
  b = 0
}
proctype Runs() {
  do
  :: d_step { runs[0] != 0 -> ends(0) }
#if NP > 1
  :: d_step { runs[1] != 0 -> ends(1) }
#endif
  od
}

/* ================================================================ the world */
#if defined(RESTORE) || defined(ROLLBACK) || defined(CLONE)
#if NP == 1
#define KNOWN_ALL (incarnation[0] != 0)
#else
#define KNOWN_ALL (incarnation[0] != 0 && incarnation[NA-1] != 0)
#endif
#ifdef STRANGER
#define BACKUP_OK (incarnation[0] != 0)
#else
#define BACKUP_OK KNOWN_ALL
#endif
#if NB == 1
#define NO_ACCEPTED (E(0,0) != ACCEPTED)
#elif NB == 2
#define NO_ACCEPTED (E(0,0) != ACCEPTED && E(0,1) != ACCEPTED)
#else
#define NO_ACCEPTED (E(0,0) != ACCEPTED && E(0,1) != ACCEPTED && E(0,2) != ACCEPTED)
#endif
proctype World() {
#ifdef ROLLBACK
  d_step { printf("snapshot of the journal\n"); s_incarnation = jIncarnation[0]; s_nonces = jNonces[0]; s_logSeq = jLogSeq[0]; snapshot = 1;
    b = 0; do :: b < NB -> s_entry[b] = E(0,b); b++ :: else -> break od; b = 0 }
#endif
#ifdef CLONE
  /* A copy of the machine's disk begins to live on another one. */
  d_step {
#ifdef WINDOW
    1 ->
#else
    NO_ACCEPTED ->
#endif
    cloned = 1; printf("clone\n"); jIncarnation[1] = jIncarnation[0]; jNonces[1] = jNonces[0]; jLogSeq[1] = jLogSeq[0]; jId[1] = jId[0];
    b = 0; do :: b < NB -> E(1,b) = E(0,b); b++ :: else -> break od; b = 0;
    boot(1) }
#endif
#ifdef RESTORE
  d_step { BACKUP_OK -> backedUp = 1; printf("backup\n");
    i = 0; do :: i < NC -> b_phase[i] = phase[i]; b_newest[i] = newest[i]; b_owner[i] = owner[i]; b_grantedTo[i] = grantedTo[i];
      b_grantedCount[i] = grantedCount[i]; b_takenOver[i] = takenOver[i]; b_takenFrom[i] = takenFrom[i]; b_decidedBy[i] = decidedBy[i]; i++ :: else -> break od;
    i = 0; do :: i < NB -> b_outcome[i] = outcome[i]; i++ :: else -> break od;
    i = 0; do :: i < NA -> b_incarnation[i] = incarnation[i]; b_trustedSince[i] = trustedSince[i]; b_journalOf[i] = journalOf[i];
      b_nonceOf[i] = nonceOf[i]; b_logSeqOf[i] = logSeqOf[i]; i++ :: else -> break od; i = 0 }
  d_step { restored = 1; printf("the server is set back\n");
    i = 0; do :: i < NC -> phase[i] = b_phase[i]; newest[i] = b_newest[i]; owner[i] = b_owner[i]; grantedTo[i] = b_grantedTo[i];
      grantedCount[i] = b_grantedCount[i]; takenOver[i] = b_takenOver[i]; takenFrom[i] = b_takenFrom[i]; decidedBy[i] = b_decidedBy[i];
      b_phase[i] = 0; b_newest[i] = 0; b_owner[i] = 0; b_grantedTo[i] = 0; b_grantedCount[i] = 0; b_takenOver[i] = 0; b_takenFrom[i] = 0; b_decidedBy[i] = 0; i++ :: else -> break od;
    i = 0; do :: i < NB -> outcome[i] = b_outcome[i]; b_outcome[i] = 0; i++ :: else -> break od;
    i = 0; do :: i < NA -> incarnation[i] = b_incarnation[i]; trustedSince[i] = b_trustedSince[i]; journalOf[i] = b_journalOf[i];
      nonceOf[i] = b_nonceOf[i]; logSeqOf[i] = b_logSeqOf[i];
      b_incarnation[i] = 0; b_trustedSince[i] = 0; b_journalOf[i] = 0; b_nonceOf[i] = 0; b_logSeqOf[i] = 0; RENEW_S(i); i++ :: else -> break od; i = 0;
#if !defined(NO_EPOCH)
    epoch = 1;
#if !defined(NO_INVENTORY)
    recovering = 1
#endif
#endif
    }
#endif
}
#endif

#ifdef LIVE
proctype Idle() { do :: phase[0] <= FAILED od }  /* so that no run ends: SPIN looks for cycles */
#endif

init {
  atomic {
    i = 0; do :: i < NP -> jId[i] = i; i++ :: else -> break od; i = 0;
    run Server(0); run Agent(0);
#if NP > 1
    run Server(1); run Agent(1);
#endif
#if LATES > 0
    run Server(LATE);
#endif
    run Runs(); run Sweeper();
#ifdef LIVE
    run Idle();
#endif
#ifdef CLOCK
    run Clock();
#endif
#if defined(RESTORE) || defined(ROLLBACK) || defined(CLONE)
    run World();
#endif
  }
}

#ifdef LIVE
#if NC == 1
ltl R8 { <>[] (phase[0] >= COMPLETED) }
#else
ltl R8 { <>[] (phase[0] >= COMPLETED && phase[1] >= COMPLETED) }
#endif
#endif
