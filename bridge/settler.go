package bridge

// settler keeps which records of a queue are settled out of order, and the longest prefix of them.
type settler struct {
	// base is the last sequence number of the settled prefix.
	base uint64
	done map[uint64]struct{}
}

// settle marks one record, and says whether the prefix grew.
func (s *settler) settle(seq uint64) bool {
	if seq <= s.base {
		return false
	}
	if seq != s.base+1 {
		if s.done == nil {
			s.done = make(map[uint64]struct{})
		}
		s.done[seq] = struct{}{}
		return false
	}
	s.base = seq
	for len(s.done) > 0 {
		if _, ok := s.done[s.base+1]; !ok {
			break
		}
		s.base++
		delete(s.done, s.base)
	}
	return true
}

// skipTo settles everything before seq: the queue gave up what it does not hold any more.
func (s *settler) skipTo(seq uint64) {
	for k := range s.done {
		if k < seq {
			delete(s.done, k)
		}
	}
	if seq > s.base+1 {
		s.base = seq - 1
	}
	for {
		if _, ok := s.done[s.base+1]; !ok {
			return
		}
		s.base++
		delete(s.done, s.base)
	}
}

// settled says whether a record needs no sending.
func (s *settler) settled(seq uint64) bool {
	if seq <= s.base {
		return true
	}
	_, ok := s.done[seq]
	return ok
}
