package bridge

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"cloudbridge/internal/clock"
	"cloudbridge/internal/queue"
	"cloudbridge/mappings"
	"cloudbridge/platforms"
)

// bulkLimits say how history goes out in one request with others, if it can.
func (l *rowsLane) bulkLimits() (platforms.HistoryLimits, bool) {
	b, ok := l.c.platform.(platforms.Backfiller)
	if !ok {
		return platforms.HistoryLimits{}, false
	}
	return b.History(l.name)
}

// turn is what a slot is for.
type turn int

const (
	nobodys turn = iota
	livesTurn
	pastsTurn
	bulksTurn // the history's and the live row's together
)

// slot sends what this slot is for. Where there is nothing to send it says when to look again.
func (l *rowsLane) slot(ctx context.Context, s *session, now time.Time) (next time.Time, sent bool) {
	l.mu.Lock()
	waiting := l.history.Stats().Records
	what, next := l.whose(l.c.cameUp(s), waiting, now)
	if what == nobodys {
		l.mu.Unlock()
		return next, false
	}
	if next, ok := l.pacer.reserve(now, 1); !ok {
		l.mu.Unlock() // Another table of the account was quicker.
		return next, false
	}
	row := l.live
	if what == pastsTurn {
		row = nil
	} else {
		l.live = nil
	}
	l.past = what == livesTurn && waiting > 0
	if what == bulksTurn {
		l.bulk.take(now, 1)
	}
	l.busy = true
	// While the history costs slots, the live rows come half as often.
	l.rows.interval = l.pacer.interval()
	if waiting > 0 && l.bulk == nil {
		l.rows.interval *= 2
	}
	l.mu.Unlock()
	l.progress(waiting, now)
	switch what {
	case livesTurn:
		if l.send(ctx, s, row) == platforms.Retry {
			l.back(row)
		}
	case pastsTurn:
		l.sendPast(ctx, s)
	case bulksTurn:
		l.sendBulk(ctx, row)
	}
	l.mu.Lock()
	l.busy = false
	l.mu.Unlock()
	return time.Time{}, true
}

// whose decides what a slot is for. The first after a link's return is a live row's. mu is held.
func (l *rowsLane) whose(began time.Time, waiting int, now time.Time) (what turn, next time.Time) {
	if !began.Equal(l.fresh) {
		patience := began.Add(l.pacer.interval() + l.c.b.scaled(rowSettle))
		if l.live == nil && now.Before(patience) {
			return nobodys, patience
		}
		l.fresh = began
		if l.live != nil {
			return livesTurn, now
		}
	}
	ready := waiting > 0 && l.c.b.mayStamp()
	switch {
	case ready && l.bulk != nil:
		at := l.bulk.next(now, 1)
		if !at.After(now) {
			return bulksTurn, now
		}
		if l.live != nil {
			return livesTurn, now
		}
		return nobodys, at
	case l.live != nil && (!ready || !l.past):
		return livesTurn, now
	case ready:
		return pastsTurn, now
	}
	return nobodys, now.Add(l.pacer.interval())
}

// back makes history of a row that was not confirmed in its slot.
func (l *rowsLane) back(row *mappings.Point) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.keep(row)
}

// oldest reads the oldest rows of the history, up to n, with their right time. Those that can have none are refused.
func (l *rowsLane) oldest(n int) (rows []mappings.Point, seqs []uint64) {
	after := l.settled
	for len(rows) < n {
		recs := peekNow(l.history, after, n-len(rows))
		if len(recs) == 0 {
			break
		}
		for _, rec := range recs {
			after = rec.Seq
			row, stamp, err := unstamp(rec)
			if err == nil {
				err = l.c.b.restamp(&row, stamp)
			}
			if rec.Seq <= l.inherited {
				l.c.adopt(&row)
			}
			switch {
			case err == nil:
				rows, seqs = append(rows, row), append(seqs, rec.Seq)
			case len(rows) > 0:
				return rows, seqs // It is dealt with when it is the oldest.
			default:
				l.c.refuse(&row, l.c.rule(&row), err.Error(), time.Now())
				l.commit(rec.Seq)
			}
		}
	}
	return rows, seqs
}

func (l *rowsLane) commit(seq uint64) {
	l.settled = seq
	// A cursor that cannot be written means doubles after a crash, never loss.
	_ = l.history.Commit(seq)
}

// sendPast sends the oldest row of the history by itself.
func (l *rowsLane) sendPast(ctx context.Context, s *session) {
	rows, seqs := l.oldest(1)
	if len(rows) == 1 && l.send(ctx, s, &rows[0]) != platforms.Retry {
		l.commit(seqs[0])
	}
}

// sendBulk sends the oldest rows of the history in one request, and with them the row that the slot would have sent live.
func (l *rowsLane) sendBulk(ctx context.Context, live *mappings.Point) {
	h, _ := l.bulkLimits()
	rides := live != nil && h.CarriesLive && l.most > 1
	n := l.most
	if rides {
		n--
	}
	rows, seqs := l.oldest(n)
	if len(rows) == 0 {
		if live != nil {
			l.back(live)
		}
		return
	}
	if rides {
		rows = append(rows, *live)
	}
	took := l.bulkOf(ctx, rows, seqs)
	if live != nil && (!rides || took < len(rows)) {
		l.back(live)
	}
}

// bulkOf sends a request of a prefix of these rows, of which the first len(seqs) are the history's, and returns how many
// rows are done with.
func (l *rowsLane) bulkOf(ctx context.Context, rows []mappings.Point, seqs []uint64) int {
	d, err := l.c.platform.(platforms.Backfiller).EncodeHistory(rows)
	if err != nil {
		l.c.refuse(&rows[0], l.c.rule(&rows[0]), err.Error(), time.Now())
		l.commit(seqs[0])
		return 1
	}
	v := l.c.http.send(ctx, d.Request, true)
	switch {
	case v.Outcome == platforms.Confirmed:
		l.most = max(l.most, l.fullSize())
		l.confirm(rows[:d.Points], d.Omitted)
	case v.Outcome == platforms.Refused && d.Points > 1:
		// One of them may be to blame for all: the next request has half as many.
		l.most = max(d.Points/2, 1)
		return 0
	case v.Outcome == platforms.Refused:
		l.most = l.fullSize()
		l.c.refuse(&rows[0], l.c.rule(&rows[0]), v.Why, time.Now())
	default:
		l.c.tally.add(fateRetried, v.Why, 1)
		if v.After > 0 {
			l.bulk.pause(time.Now().Add(l.c.b.scaled(v.After)), v.Why)
		}
		return 0
	}
	if done := min(d.Points, len(seqs)); done > 0 {
		l.commit(seqs[done-1])
	}
	return d.Points
}

func (l *rowsLane) fullSize() int {
	h, _ := l.bulkLimits()
	return h.MostPoints
}

// confirm counts the rows of a request, and refuses what the platform had to leave out.
func (l *rowsLane) confirm(rows []mappings.Point, omitted []platforms.Omission) {
	whole := make(map[int]bool)
	for _, o := range omitted {
		if o.Point >= len(rows) {
			continue
		}
		row := &rows[o.Point]
		if o.Whole {
			whole[o.Point] = true
			l.c.refuse(row, l.c.rule(row), o.Why, time.Now())
		} else {
			l.c.count(row, fateRefused, o.Why)
		}
	}
	for i := range rows {
		if !whole[i] {
			l.c.count(&rows[i], fateConfirmed, "")
		}
	}
}

// progressEvery is how often the progress of a long history is told in the log.
const progressEvery = time.Minute

// progress tells how much history there is and how long it takes.
func (l *rowsLane) progress(waiting int, now time.Time) {
	if waiting == 0 {
		if !l.told.IsZero() {
			l.c.b.log.Info(l.c.name + ": history is filled in")
		}
		l.told = time.Time{}
		l.c.filling(false, "")
		return
	}
	left := time.Duration(waiting) * 2 * l.pacer.interval()
	if l.bulk != nil {
		left = time.Duration((waiting+l.most-1)/l.most) * max(l.bulk.interval(), l.pacer.interval())
	}
	text := fmt.Sprintf("filling in %s of history, %s left", span(l.span()), span(left))
	l.c.filling(true, text)
	if now.Sub(l.told) >= l.c.b.scaled(progressEvery) {
		l.told = now
		l.c.b.log.Info(l.c.name + ": " + text)
	}
}

// span is the time from the oldest row of the history until now.
func (l *rowsLane) span() time.Duration {
	recs := peekNow(l.history, l.settled, 1)
	if len(recs) == 0 {
		return 0
	}
	row, _, err := unstamp(recs[0])
	if err != nil {
		return 0
	}
	return max(time.Since(row.Time), 0)
}

// span writes a time as people say it.
func span(d time.Duration) string {
	switch m := int(d.Round(time.Minute) / time.Minute); {
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d.Round(time.Second)/time.Second))
	case m < 120:
		return fmt.Sprintf("%d min", m)
	default:
		return fmt.Sprintf("%d h %d min", m/60, m%60)
	}
}

// A record of the history begins with this byte, whether the clock was right, and the time since the boot.
const stamped = 0xFE

// stamp writes a row as a record that tells how far its times can be trusted.
func (b *Bridge) stamp(rec []byte, row *mappings.Point, now time.Time) []byte {
	s := b.clockAt(now)
	right := byte(0)
	if s.Right {
		right = 1
	}
	rec = append(rec, stamped, right)
	rec = binary.AppendVarint(rec, int64(s.Boottime-max(s.Wall.Sub(row.Arrived), 0)))
	return row.Append(rec)
}

// unstamp reads such a record; one without a stamp is of a right clock.
func unstamp(rec queue.Record) (row mappings.Point, s clock.Stamp, err error) {
	var data []byte
	if data, s, err = stampOf(rec); err != nil {
		return row, s, err
	}
	row, err = mappings.ReadPoint(data)
	s.Wall = row.Arrived
	return row, s, err
}

// stampOf divides a record into its stamp, which lacks the time of arrival yet, and the point.
func stampOf(rec queue.Record) (data []byte, s clock.Stamp, err error) {
	data = rec.Data
	s = clock.Stamp{Boot: rec.Boot, Right: true}
	if len(data) > 2 && data[0] == stamped {
		s.Right = data[1] == 1
		boottime, n := binary.Varint(data[2:])
		if n <= 0 {
			return nil, s, fmt.Errorf("record of the history cannot be read")
		}
		s.Boottime = time.Duration(boottime)
		data = data[2+n:]
	}
	return data, s, nil
}
