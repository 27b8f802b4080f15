// Package intern keeps one copy of short texts that come again and again, such as topics.
package intern

const (
	// most is how many texts a pool keeps. One that is full begins anew: a house with more topics pays for a copy each now
	// and then, and never for more memory.
	most = 1024
	// longest is the longest text that is worth keeping.
	longest = 256
)

// Pool keeps texts. The zero value is empty. One goroutine at a time may use it.
type Pool struct{ known map[string]string }

// Find gives the text that equals b, if the pool has it.
func (p *Pool) Find(b []byte) (text string, ok bool) {
	text, ok = p.known[string(b)]
	return text, ok
}

// Text gives b as a text, the same one each time.
func (p *Pool) Text(b []byte) string {
	if text, ok := p.known[string(b)]; ok {
		return text
	}
	text := string(b)
	if len(text) > longest {
		return text
	}
	switch {
	case p.known == nil:
		p.known = make(map[string]string)
	case len(p.known) >= most:
		clear(p.known)
	}
	p.known[text] = text
	return text
}
