package netd

import "time"

// The first tries to get a lease take shortTry each, until shortTries is over.
// Every later try takes twice as long as the one before, up to longTry.
const (
	shortTry   = 2 * time.Second
	shortTries = 30 * time.Second
	longTry    = time.Minute
)

// tryTime returns how long try n takes, counted from 0.
func tryTime(n int) time.Duration {
	n -= int(shortTries / shortTry)
	if n < 0 {
		return shortTry
	}
	return min(shortTry<<min(n+1, 16), longTry)
}

// sends is how often a message is sent in one try, each pause being twice as long as
// the one before. With half of all packets lost, every other exchange succeeds.
const sends = 4

// firstPause returns the first pause, such that all pauses together take wait.
func firstPause(wait time.Duration) time.Duration { return wait / (1<<sends - 1) }
