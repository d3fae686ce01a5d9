/*
 * The rules of a stored channel and of commits (docs/PROTOCOL.md; rules R4 to R6, R9, R11 to R14 and R19),
 * small enough that Spin visits every state.
 *
 * N devices hold one line. Each writes K texts; between them they have COMMITS intentions to commit, and the
 * last device may be malicious and make BAD commits that fail the predicate P. Every step of a device is one
 * vault transaction and at most one request. Up to LOSSES times a request or its answer is lost, which is
 * also what a crash of the device or of the relay looks like once both save before they speak (R7, R4).
 *
 * Assumed: the relay loses nothing that it has acknowledged and shows everybody one order (a relay that does
 * otherwise is the matter of tests/simulation, where R7 to R10 and R18 answer it); cryptography holds, so
 * that P gives every reader the same answer; a device that goes on lives for ever.
 *
 * Every path is finite, so what holds at each end holds always in the end. Where a rule is left out
 * (-DNO_...), Spin must find an error: test_line_model.py sees to that.
 */

#ifndef N
#define N 2
#endif
#ifndef K
#define K 1
#endif
#ifndef COMMITS
#define COMMITS 2
#endif
#ifndef BAD
#define BAD 1
#endif
#ifndef LOSSES
#define LOSSES 1
#endif

#define TURNS 2                 /* four in the protocol: FAULT follows the last one (R14) */
#define EPOCHS (COMMITS + 1)
#define CHANNELS (EPOCHS * TURNS)
#define TEXTS (N * K)
#define ROOM (2 * TEXTS + COMMITS + BAD + 1)

#define EMPTY 255
#define COMMIT(d, bad) (100 + 2 * (d) + (bad))
#define IS_COMMIT(cell) ((cell) >= 100)
#define IS_BAD(cell) ((cell) % 2 == 1)

#define HERE(d) (epoch[d] * TURNS + turn[d])
#define AT(c, i) cells[(c) * ROOM + (i)]
#define ACKED(c, d) acked[(c) * N + (d)]
#define READ(c, d) reached[(c) * N + (d)]
#define GOT(d, text) got[(d) * TEXTS + (text)]
#define ENDED_BY(d, e) ended_by[(d) * EPOCHS + (e)]

/* The relay's store. */
byte cells[CHANNELS * ROOM] = EMPTY;
byte head[CHANNELS];
bool closed[CHANNELS];
byte kept_from[CHANNELS];       /* cells below were deleted (R6) */
byte acked[CHANNELS * N];

/* The devices' vaults. */
byte epoch[N];
byte turn[N];
bool fault[N];
byte reached[CHANNELS * N];     /* position in each channel; those left behind live on in stubs (R19) */
byte unacknowledged[N];         /* bit c: something read in channel c is not acknowledged yet */
byte written[N];
byte stored[N];                 /* texts below are known to be stored */
byte sealed_for[N];             /* 1 + the channel for which the next text was sealed; 0: it is queued */
bool shut[N];                   /* CLOSED was answered: only reading on helps (R13) */
byte pending[N];                /* the saved commit of this turn; 0: none (R13) */
byte ended_by[N * EPOCHS] = EMPTY;
byte got[N * TEXTS];            /* how often each text was shown */

/* What may still happen. */
byte commits_left = COMMITS;
byte bad_left = BAD;
byte lost;

/* The relay deletes what every slot has acknowledged past (R6). */
inline delete_acknowledged(c)
{
	byte low, reader;
#ifdef NO_R6_ALL_SLOTS
	low = 0;
	for (reader : 0 .. N - 1) { low = (ACKED(c, reader) > low -> ACKED(c, reader) : low) }
#else
	low = head[c];
	for (reader : 0 .. N - 1) { low = (ACKED(c, reader) < low -> ACKED(c, reader) : low) }
#endif
	kept_from[c] = low;
	low = 0; reader = 0
}

/* The relay numbers a cell, once for each deposit (R4), and none after a closing one (R5). */
inline place(c, cell, closes, taken)
{
	byte at;
	taken = false;
#ifndef NO_R4_SAME_DEPOSIT
	at = 0;
	do
	:: at < head[c] -> taken = taken || AT(c, at) == cell; at++
	:: else -> break
	od;
#endif
	if
#ifndef NO_R5_CLOSED
	:: taken || closed[c]
	:: !taken && !closed[c] ->
#else
	:: taken
	:: !taken ->
#endif
		assert(head[c] < ROOM);
		AT(c, head[c]) = cell;
		head[c]++;
		closed[c] = closed[c] || closes;
		taken = true
	fi;
	at = 0
}

/* The end of a turn: what was not stored is queued again with its counter (R12), a lost commit dropped (R13). */
inline leave_channel(d)
{
#ifndef NO_R12_REQUEUE
	sealed_for[d] = 0;
#endif
	shut[d] = false;
	pending[d] = 0
}

/* Takes the cell at the device's position. */
inline take_cell(d)
{
	byte cell;
	assert(READ(HERE(d), d) >= kept_from[HERE(d)]);         /* R6: it was not deleted before */
	cell = AT(HERE(d), READ(HERE(d), d));
	READ(HERE(d), d)++;
	unacknowledged[d] = unacknowledged[d] | (1 << HERE(d));
	if
	:: !IS_COMMIT(cell) && cell / K == d ->
		if
		:: cell % K == stored[d] -> stored[d]++; sealed_for[d] = 0
		:: else
		fi
	:: !IS_COMMIT(cell) && cell / K != d ->
		if
#ifndef NO_R11_ONCE
		:: GOT(d, cell) > 0                             /* a second copy, known by its counter */
#endif
		:: else ->
			assert(cell % K == 0 || GOT(d, cell - 1) > 0);  /* in order for each sender */
			GOT(d, cell)++;
			assert(GOT(d, cell) == 1)                       /* shown once */
		fi
	:: IS_COMMIT(cell) && IS_BAD(cell) ->                   /* P fails: all move to the next turn (R14) */
#ifndef NO_R14_TURN
		leave_channel(d);
		fault[d] = (turn[d] + 1 == TURNS);
		turn[d] = (fault[d] -> turn[d] : turn[d] + 1)
#else
		skip
#endif
	:: IS_COMMIT(cell) && !IS_BAD(cell) ->
		ENDED_BY(d, epoch[d]) = cell;
		leave_channel(d);
		epoch[d]++;
		turn[d] = 0
	fi;
	cell = 0
}

#define LIVE(d) (!fault[d])
#define FREE(d) (LIVE(d) && !shut[d] && pending[d] == 0)

proctype Device(byte d)
{
	byte c;
	bool taken;

end:	do
	:: atomic { LIVE(d) && written[d] < K -> written[d]++ }

	/* Texts: sealed and saved, then deposited, in their order. */
	:: atomic { FREE(d) && stored[d] < written[d] && sealed_for[d] == 0 -> sealed_for[d] = 1 + HERE(d) }
	:: atomic { FREE(d) && sealed_for[d] == 1 + HERE(d) ->
		if
		:: lost < LOSSES -> lost++                                      /* the request is lost */
		:: lost < LOSSES -> lost++;
			place(HERE(d), d * K + stored[d], false, taken)         /* its answer is lost */
		:: place(HERE(d), d * K + stored[d], false, taken);
			if
			:: taken -> stored[d]++; sealed_for[d] = 0
			:: else -> shut[d] = true
			fi
#ifdef NO_R4_DURABLE
		:: lost < LOSSES && !closed[HERE(d)] -> lost++;                 /* answered, then the relay */
			stored[d]++; sealed_for[d] = 0                          /* crashed before it was safe */
#endif
		fi;
		taken = false }

	/* Commits: saved, then deposited with `close` until answered. */
	:: atomic { FREE(d) && commits_left > 0 -> commits_left--; pending[d] = COMMIT(d, 0) }
	:: atomic { FREE(d) && d == N - 1 && bad_left > 0 -> bad_left--; pending[d] = COMMIT(d, 1) }
	:: atomic { LIVE(d) && pending[d] != 0 && !shut[d] ->
		if
		:: lost < LOSSES -> lost++
		:: lost < LOSSES -> lost++; place(HERE(d), pending[d], true, taken)
		:: place(HERE(d), pending[d], true, taken);
			shut[d] = true          /* closed now, by this commit or by another */
#ifdef NO_R13_OWN_CELL
			; if                    /* merges at the answer instead of at its own cell */
			:: taken && !IS_BAD(pending[d]) ->
				ENDED_BY(d, epoch[d]) = pending[d];
				leave_channel(d);
				epoch[d]++;
				turn[d] = 0
			:: else
			fi
#endif
#ifdef NO_R13_READ_TO_WINNER
			; if                    /* takes CLOSED for a winner of its own */
			:: !IS_BAD(pending[d]) ->
				READ(HERE(d), d) = head[HERE(d)] - 1;
				ENDED_BY(d, epoch[d]) = pending[d];
				READ(HERE(d), d)++;
				leave_channel(d);
				epoch[d]++;
				turn[d] = 0
			:: else
			fi
#endif
		fi;
		taken = false }

	:: atomic { LIVE(d) && READ(HERE(d), d) < head[HERE(d)] -> take_cell(d) }

	/* Acknowledgements come late; those of channels left behind come from stubs (R19). */
#ifdef NO_R19_STUB
	:: atomic { (unacknowledged[d] & (1 << HERE(d))) != 0 -> c = HERE(d);
#else
	:: atomic { unacknowledged[d] != 0 ->
		do
		:: (unacknowledged[d] & (1 << c)) == 0 -> c++
		:: else -> break
		od;
#endif
		ACKED(c, d) = READ(c, d);
		unacknowledged[d] = unacknowledged[d] & ~(1 << c);
		delete_acknowledged(c);
		c = 0 }
	od
}

/* Nobody can do anything any more: what must be true now? */
proctype End()
{
	byte d, i;

	timeout;
	atomic {
	for (d : 0 .. N - 1) {
		/* Agreement: one epoch and turn, every epoch ended by the same commit, or FAULT for all (R13, R14). */
		assert(fault[d] == fault[0] && epoch[d] == epoch[0] && turn[d] == turn[0]);
		for (i : 0 .. EPOCHS - 1) { assert(ENDED_BY(d, i) == ENDED_BY(0, i)) }
		if
		:: !fault[d] ->
			/* Everything written was stored and shown to everybody else (R4, R12). */
			assert(written[d] == K && stored[d] == K);
			for (i : 0 .. TEXTS - 1) { assert(i / K == d || GOT(d, i) == 1) }
		:: else
		fi
	}
	/* The relay keeps nothing (R6, R19). */
	for (i : 0 .. CHANNELS - 1) { assert(kept_from[i] == head[i]) }
	}
}

init
{
	byte d;

	atomic {
		for (d : 0 .. N - 1) { run Device(d) }
		run End()
	}
}
