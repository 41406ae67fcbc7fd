package netd

// maxSeen bounds how many texts are remembered and logged, should a hostile
// network keep inventing new ones.
const maxSeen = 64

// seen is a set of texts that have been logged, so that each is logged once.
type seen map[string]bool

// isNew reports whether text is not in s, and adds it.
func (s *seen) isNew(text string) bool {
	if (*s)[text] || len(*s) == maxSeen {
		return false
	}
	if *s == nil {
		*s = make(seen)
	}
	(*s)[text] = true
	return true
}
