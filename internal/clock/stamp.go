package clock

import "time"

// Stamp is a time with what it takes to correct it: the boot in which the clock was read, how long that boot had lasted, and
// whether the clock was right.
type Stamp struct {
	Wall     time.Time
	Boot     string
	Boottime time.Duration
	Right    bool
}

// Restamp gives the right time of what was stamped s. now is a stamp of this moment. It is not ok where nobody can tell: s
// was made by a wrong clock, and either that was in an earlier boot (then for ever: the record is refused as "no clock"), or
// the clock is wrong still (then [Stamp.MayYet] says to wait).
func Restamp(s, now Stamp) (t time.Time, ok bool) {
	switch {
	case s.Right:
		return s.Wall, true
	case !now.Right || !s.sameBoot(now):
		return time.Time{}, false
	}
	return now.Wall.Add(s.Boottime - now.Boottime), true
}

// MayYet says whether a stamp that has no right time yet may still get one: it was made in this boot.
func (s Stamp) MayYet(now Stamp) bool { return s.Right || s.sameBoot(now) }

// sameBoot says whether s was made earlier in the boot of now. A boot without a name is like no other. A later moment of the
// same boot cannot be; where it seems so, a container was moved or the record is damaged, and its time would be invented.
func (s Stamp) sameBoot(now Stamp) bool {
	return s.Boot != "" && s.Boot == now.Boot && s.Boottime <= now.Boottime
}
