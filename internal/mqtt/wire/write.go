package wire

import (
	"context"
	"runtime"
	"time"
)

// HasRoom says whether a publisher that cannot wait may append now. It gets more room than one that can.
func (c *Conn) HasRoom() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.out) < 4*batchLimit
}

// Room waits until a publisher may append.
func (c *Conn) Room(ctx context.Context) error {
	for {
		c.mu.Lock()
		if c.closed {
			defer c.mu.Unlock()
			return c.reason()
		}
		if len(c.out) < batchLimit {
			c.mu.Unlock()
			return nil
		}
		if c.room == nil {
			c.room = make(chan struct{})
		}
		room := c.room
		c.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Drain waits until all that was appended is written.
func (c *Conn) Drain(ctx context.Context) error {
	for {
		c.mu.Lock()
		if c.written.Load() == c.appended {
			c.mu.Unlock()
			return nil
		}
		if c.closed {
			defer c.mu.Unlock()
			return c.reason()
		}
		if c.drained == nil {
			c.drained = make(chan struct{})
		}
		drained := c.drained
		c.mu.Unlock()
		select {
		case <-drained:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// ring wakes the goroutine that writes, unless somebody holds it back who will send all at once. mu is held.
func (c *Conn) ring() {
	if c.due() {
		c.wake.Signal()
	}
}

// due says whether there is something for the goroutine that writes. mu is held.
func (c *Conn) due() bool {
	return !c.writing && (c.left > 0 || len(c.out) > 0 && (c.corks == 0 || c.pressing || len(c.out) >= corkLimit))
}

// Press sends what waits even where somebody holds it back: it will not wait for one who is held up himself.
func (c *Conn) Press() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pressLocked()
}

func (c *Conn) pressLocked() {
	c.pressing = len(c.out) > 0
	c.ring()
}

// Cork holds back what is appended from here on, in moderation, until as many calls of [Conn.Uncork] have followed: all of
// it goes out in one write then.
func (c *Conn) Cork() {
	c.mu.Lock()
	c.corks++
	c.mu.Unlock()
}

// Uncork sends what was held back, on this goroutine where the network takes it without waiting. OnWritten may be called.
func (c *Conn) Uncork() {
	c.mu.Lock()
	c.corks--
	if !c.due() || c.closed {
		c.mu.Unlock()
		return
	}
	if c.left > 0 || !c.o.Flow.able() || len(c.out) > batchLimit {
		c.wake.Signal()
		c.mu.Unlock()
		return
	}
	batch := c.take()
	c.mu.Unlock()
	c.o.Flow.setEager(true)
	_, err := c.Conn.Write(batch)
	if left := c.o.Flow.setEager(false); err == nil && left {
		c.mu.Lock()
		c.left = int64(len(batch))
		c.mu.Unlock()
	} else if err == nil {
		c.wrote(len(batch))
	}
	c.finish(batch, err)
}

// take takes what waits, for writing. mu is held.
func (c *Conn) take() []byte {
	batch := c.out
	c.out, c.spare, c.control = c.spare, nil, 0
	c.writing, c.pressing = true, false
	signal(&c.room)
	return batch
}

func (c *Conn) wrote(n int) {
	c.written.Add(int64(n))
	c.lastOut.Store(int64(time.Since(c.start)))
}

// finish ends a write, and says whether the connection is still of use.
func (c *Conn) finish(batch []byte, err error) bool {
	if err != nil {
		c.fail(err)
		// The peer may have said why before it hung up; the reader gets a moment to find it.
		_ = c.SetReadDeadline(time.Now().Add(lastWords))
	} else if c.o.OnWritten != nil {
		c.o.OnWritten(c.written.Load())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writing = false
	if cap(batch) <= 2*batchLimit {
		c.spare = batch[:0]
	}
	if len(c.out) == 0 && c.left == 0 {
		signal(&c.drained)
	}
	if c.closed {
		c.wake.Signal()
	}
	c.ring()
	return err == nil
}

// flush writes what is appended and nobody else writes, as much at a time as there is, until the connection fails or is
// closed.
func (c *Conn) flush() {
	defer close(c.flushed)
	for {
		c.mu.Lock()
		for !c.closed && !c.due() {
			c.wake.Wait()
		}
		if !c.closed && len(c.out) < batchLimit {
			// Whoever is about to publish more gets its turn first, and goes out in the same write.
			c.mu.Unlock()
			runtime.Gosched()
			c.mu.Lock()
		}
		switch {
		case c.closed && c.writing:
			c.mu.Unlock() // Whoever writes tells when it is over.
			c.awaitWriter()
			return
		case c.closed:
			c.mu.Unlock()
			return
		case !c.due():
			c.mu.Unlock()
			continue
		}
		left := c.left
		c.left = 0
		batch := c.take()
		c.mu.Unlock()
		var err error
		if left > 0 {
			if err = c.o.Flow.settle(); err == nil {
				c.wrote(int(left))
			}
		}
		if err == nil {
			err = c.writeAll(batch)
		}
		if !c.finish(batch, err) {
			return
		}
	}
}

// awaitWriter waits for the end of a write on another goroutine, so that nothing is told of the connection after flushed
// is closed.
func (c *Conn) awaitWriter() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.writing {
		c.wake.Wait()
	}
}

// writeAll writes in pieces, so that a long packet on a slow link shows its progress.
func (c *Conn) writeAll(batch []byte) error {
	for len(batch) > 0 {
		n, err := c.Conn.Write(batch[:min(len(batch), batchLimit)])
		c.wrote(n)
		if err != nil {
			return err
		}
		batch = batch[n:]
	}
	return nil
}
