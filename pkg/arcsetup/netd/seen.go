package netd

// maxSeen bounds how many texts are remembered and logged, should a hostile
// network keep inventing new ones.
const maxSeen = 64

// seen is a set of texts that have been logged, so that each is logged once.
type seen map[string]bool

// unseen returns those of texts that were not in s, and adds them.
func (s *seen) unseen(texts ...string) (unseen []string) {
	if *s == nil {
		*s = make(seen)
	}
	for _, text := range texts {
		if !(*s)[text] && len(*s) < maxSeen {
			(*s)[text] = true
			unseen = append(unseen, text)
		}
	}
	return unseen
}
