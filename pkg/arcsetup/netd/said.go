package netd

// maxSaid bounds what a network that keeps inventing new nonsense can make us
// log and remember.
const maxSaid = 64

// said is what has been logged, so that it is not logged again.
type said map[string]bool

// news returns those of texts that have not been said, and notes that they are
// being said.
func (s *said) news(texts ...string) (news []string) {
	if *s == nil {
		*s = make(said)
	}
	for _, text := range texts {
		if !(*s)[text] && len(*s) < maxSaid {
			(*s)[text] = true
			news = append(news, text)
		}
	}
	return news
}
