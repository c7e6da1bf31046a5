package lmtp

import (
	"context"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"postern/mail"
)

const (
	// maxHeard is how many transactions wait to be told of. What is lost beyond
	// it, the next hop remembers for longer than it has to.
	maxHeard = 10_000
	// heardAtOnce is how many of them fit a command line.
	heardAtOnce = 100
	// heardDelay is how long they wait for something else that is to be said.
	heardDelay = time.Second
)

// Heard tells the next hop, if it remembers, that the SMTP client of a transaction
// heard its 250, and so does not come again with the message. It is told along
// with what is said next, or after a second, and not at all if that fails for
// good: then only the same message, sent on purpose once more, is taken for a
// retry.
func (c *Client) Heard(id string) {
	if c.remembers.Load() && isID(id) && c.heard.add(id) {
		time.AfterFunc(heardDelay, func() { c.tellHeard(c.verifyTimeout()) })
	}
}

// tellHeard says what nothing else was said with, within timeout.
func (c *Client) tellHeard(timeout time.Duration) {
	if c.heard.empty() {
		return
	}
	_ = c.with(context.Background(), timeout, func(cn *conn) error {
		for cn.heard != nil && !c.heard.empty() {
			if _, err := cn.askHeard(nil, nil); err != nil {
				return err
			}
		}
		return nil
	})
}

// A heardQueue is a queue of transactions whose clients heard their 250.
type heardQueue struct {
	mu  sync.Mutex
	ids []string
}

// add reports whether id is the first.
func (h *heardQueue) add(id ...string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ids = append(h.ids, id...)
	if n := len(h.ids); n > maxHeard {
		h.ids = slices.Delete(h.ids, 0, n-maxHeard)
	}
	return len(h.ids) == len(id)
}

func (h *heardQueue) empty() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.ids) == 0
}

// take returns those that fit a command, and removes them.
func (h *heardQueue) take() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := min(len(h.ids), heardAtOnce)
	taken := slices.Clone(h.ids[:n])
	h.ids = slices.Delete(h.ids, 0, n)
	return taken
}

// askHeard is ask, and tells on the way what clients have heard.
func (cn *conn) askHeard(commands []string, chunk io.WriterTo) ([]mail.Reply, error) {
	if cn.heard == nil {
		return cn.ask(commands, chunk)
	}
	ids := cn.heard.take()
	if len(ids) == 0 {
		return cn.ask(commands, chunk)
	}
	replies, err := cn.ask(append([]string{verbHeard + " " + strings.Join(ids, " ")}, commands...), chunk)
	if len(replies) == 0 {
		cn.heard.add(ids...) // in vain so far
		return nil, err
	}
	return replies[1:], err
}
