package netd

import "time"

// The first tries to get a lease take shortTry each, until shortTries is over;
// every later one takes twice as long as the one before, up to longTry.
const (
	shortTry   = 2 * time.Second
	shortTries = 30 * time.Second
	longTry    = time.Minute
)

// tryTime is how long the try with that number, counted from 0, takes.
func tryTime(n int) time.Duration {
	n -= int(shortTries / shortTry)
	if n < 0 {
		return shortTry
	}
	return min(shortTry<<min(n+1, 16), longTry)
}

// again is when a lease that could not be renewed is asked for once more, passed
// being the time since it was granted: after half of what is left of this state,
// but not so soon that an answer might still be on its way (RFC 2131 section
// 4.4.5, whose minute is for leases of hours).
func (l lease) again(passed time.Duration) time.Duration {
	until := l.time
	if passed < l.rebind {
		until = l.rebind
	}
	least := min(max(l.time/16, shortTry), time.Minute)
	return min(passed+max((until-passed)/2, least), until)
}

// sends is how often a message is sent before its answer is given up; each pause
// is twice as long as the one before. Within a virtual network what is lost is lost
// at once: with half of all packets gone, both ways, four make an exchange of two
// seconds succeed one time in two.
const sends = 4

// firstPause makes the pauses of all sends last for wait.
func firstPause(wait time.Duration) time.Duration { return wait / (1<<sends - 1) }
