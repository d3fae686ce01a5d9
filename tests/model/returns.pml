/*
 * The way back (docs/PROTOCOL.md; rules R16 to R18, docs/adr/0045 and 0052), small enough that Spin visits every
 * state.
 *
 * N devices are leaves of one line. LOSSES times one of them loses its place, for one of three reasons: it was
 * only left behind (ALONE: the channel is gone, full, or could not be followed), the relay lost its state
 * (SOUND), or its vault is an old one (NEVER may it stay). Up to DEAD leaves were added and never told R: they
 * read nothing, say nothing, and stand in everybody's tree.
 *
 * A stranded device asks all others that have R. Who has its place, and knows its counter, lets one in by a
 * commit, which moves everybody of that branch; the one let in waits to be told its counter by the one that did
 * it. Of those that are stranded together one may stay where it is, or go on alone.
 *
 * Assumed: what is asked reaches whoever has R, and who can answer does so before anybody goes on alone (R18's
 * hour); commits of one branch reach all of it (line.pml); people resolve forks elsewhere, so a Welcome of
 * another branch is an error here.
 *
 * What holds at each end, where nothing can happen any more, holds always in the end.
 */

#ifndef N
#define N 3
#endif
#ifndef LOSSES
#define LOSSES 3
#endif
#ifndef DEAD
#define DEAD 1
#endif

#define MOST 4
#define NEVER 0
#define ALONE 1
#define SOUND 2
#define NOBODY 255

#define SEEN(d, x) seen[(d) * MOST + (x)]
#define ABLE(d) (!dead[d] && !lost[d] && waits[d] == NOBODY)
#define MAY_STAY(d) (lost[d] && waits[d] == NOBODY && stay[d] != NEVER)

#define SOME(what, d) (what(d, 0) || what(d, 1) || what(d, 2) || what(d, 3))
#define ALL(what, d) (what(d, 0) && what(d, 1) && what(d, 2) && what(d, 3))

/* Somebody with R does not know of this device's request. */
#define UNASKED(d, x) ((x) != (d) && !dead[x] && !SEEN(x, d))
#define WOULD(d) (waits[d] == NOBODY -> stay[d] : NEVER)
#define OTHERWISE(d) (asked_stay[d] != WOULD(d) || asked_epoch[d] != epoch[d])
#define ASKED(d, x) ((x) != (d) && SEEN(d, x))

/* Of all that ask and may stay, the soundest does, then the latest, then the one with the lowest id (R18). */
#define BETTER(d, x) (asked_stay[x] > stay[d] || (asked_stay[x] == stay[d] && \
	(asked_epoch[x] > epoch[d] || (asked_epoch[x] == epoch[d] && (x) < (d)))))
#ifndef NO_R18_BEST_STAYS
#define YIELDS(d, x) (ASKED(d, x) && asked_stay[x] != NEVER && BETTER(d, x))
#else
#define YIELDS(d, x) false
#endif

/* R18's hour: whoever can answer has done so, and whoever is stranded too has asked. It begins anew with each
   request: else one that has just decided to stay (fresh) has had no hour yet to answer. */
#ifdef NO_R18_NEWEST
#define QUIET(d, x) ((x) == (d) || dead[x] || fresh[x] || \
	(!(ABLE(x) && SEEN(x, d)) && !(lost[x] && !SEEN(d, x))))
#else
#define QUIET(d, x) ((x) == (d) || dead[x] || \
	(!(ABLE(x) && SEEN(x, d)) && !(lost[x] && !SEEN(d, x))))
#endif

/* No other leaf can have gone on: each has asked, or R17 has given it up. */
#ifdef NO_R18_DEAD_LEAF
#define COUNTED(d, x) ((x) == (d) || (x) >= N || SEEN(d, x))
#else
#define COUNTED(d, x) ((x) == (d) || dead[x] || SEEN(d, x))
#endif

#ifdef NO_R18_HOUR
#define WAITED(d) (stay[d] == SOUND || (!SOME(UNASKED, d) && ALL(QUIET, d)))
#else
#define WAITED(d) (!SOME(UNASKED, d) && ALL(QUIET, d))
#endif
#define STAYS(d) (MAY_STAY(d) && SOME(ASKED, d) && !SOME(YIELDS, d) && WAITED(d) && \
	(stay[d] == SOUND || ALL(COUNTED, d)))

bool dead[MOST];                /* and those from N on, which are not there at all */
bool lost[MOST];
byte stay[MOST];
byte asked_stay[MOST];          /* what its last request says */
byte asked_epoch[MOST];
bool fresh[MOST];
byte branch[MOST];              /* which epoch of which branch: two devices with one number are together */
byte epoch[MOST];
byte waits[MOST] = NOBODY;      /* who owes this device its counter (R16) */
bool seen[MOST * MOST];         /* d holds a request of x */
byte losses;
byte branches = 1;

/* The request also names the next counter of the device that is asked (docs/adr/0045). */
inline ask(d)
{
	asked_stay[d] = WOULD(d);
	asked_epoch[d] = epoch[d];
	for (i : 0 .. N - 1) {
		if
		:: i != d && !dead[i] ->
			SEEN(i, d) = true;
#ifndef NO_R16_ASKED_TELLS
			if
			:: waits[i] == d -> waits[i] = NOBODY
			:: else
			fi
#endif
		:: else
		fi
	}
	i = 0
}

/* Lets x in by Remove and Add: all of the branch follow (R13), x waits for LINE_INFO (R16). */
inline let_in(a, x)
{
	assert(branches < 250);
	old = branch[a];
	for (i : 0 .. N - 1) {
		if
		:: !dead[i] && !lost[i] && branch[i] == old ->
			branch[i] = branches;
			epoch[i]++;
			SEEN(i, x) = false
		:: else
		fi;
		SEEN(x, i) = false
	}
	branch[x] = branches;
	epoch[x] = epoch[a];
	branches++;
	lost[x] = false;
	waits[x] = a;
	i = 0;
	old = 0
}

inline answer(a, x)
{
	if
	:: lost[x] -> let_in(a, x)
	:: !lost[x] ->                                  /* somebody else has let it in, into this branch */
		assert(branch[x] == branch[a]);
		SEEN(a, x) = false
	fi
}

proctype Device(byte d)
{
	byte i, old;

end:	do
	/* Loses its place. Who was not told its counter may not stay, whatever the reason (R9, R16). */
	:: atomic { !lost[d] && losses < LOSSES ->
		losses++;
		lost[d] = true;
		if
		:: stay[d] = ALONE
		:: stay[d] = SOUND
		:: stay[d] = NEVER
		fi }
	:: atomic { lost[d] && (SOME(UNASKED, d) || OTHERWISE(d)) -> ask(d) }
	:: atomic { fresh[d] -> fresh[d] = false }
	:: atomic { ABLE(d) && ASKED(d, 0) -> answer(d, 0) }
	:: atomic { ABLE(d) && ASKED(d, 1) -> answer(d, 1) }
	:: atomic { ABLE(d) && ASKED(d, 2) -> answer(d, 2) }
	:: atomic { ABLE(d) && ASKED(d, 3) -> answer(d, 3) }
	/* LINE_INFO arrives. */
	:: atomic { !lost[d] && waits[d] != NOBODY && !lost[waits[d]] &&
		branch[waits[d]] == branch[d] ->
		waits[d] = NOBODY }
#ifndef NO_R18_STAYS
	:: atomic { STAYS(d) ->
		lost[d] = false;
		fresh[d] = true;
		if
		:: stay[d] == ALONE ->                  /* into a new epoch, by itself */
			assert(branches < 250);
			branch[d] = branches;
			branches++;
			epoch[d]++
		:: else
		fi }
#endif
	od
}

/* Nobody can do anything any more: what must be true now? */
proctype End()
{
	byte d, there;
	byte first = NOBODY;
	bool somebody;

	timeout;
	atomic {
	for (d : 0 .. N - 1) {
		there = there + (dead[d] -> 0 : 1);
		somebody = somebody || ABLE(d) || MAY_STAY(d)
	}
	for (d : 0 .. N - 1) {
		if
		:: !dead[d] && there > 1 && somebody ->
			/* Whoever lives is back, knows its counter, and is where the others are (R18). */
			assert(!lost[d] && waits[d] == NOBODY);
			first = (first == NOBODY -> branch[d] : first);
			assert(branch[d] == first)
		:: else
		fi
	}
	}
}

init
{
	byte d, gone;

	atomic {
		for (d : N .. MOST - 1) { dead[d] = true }
		for (d : 1 .. N - 1) {
			if
			:: gone < DEAD -> gone++; dead[d] = true
			:: true
			fi
		}
		for (d : 0 .. N - 1) {
			if
			:: !dead[d] -> run Device(d)
			:: else
			fi
		}
		run End()
	}
}
