package peer

import (
	"context"
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A Load sends messages to a server from many connections at once. It goes on
// when the server goes away: it opens new connections until the server is back.
type Load struct {
	Protocol Protocol
	Network  string // "tcp" or "unix"
	Addr     string

	Connections   int         // how many at once; 0 means 1
	PerConnection int         // messages on one connection; 0 means no bound
	Pipeline      bool        // MAIL, RCPT and DATA in one write
	TLS           *tls.Config // not nil: STARTTLS

	From     string                   // the envelope's sender
	To       func(index int) []string // the recipients of a message
	Messages Generator
	First    int // the index of the first message
	Count    int // how many messages; 0 means until the context ends
}

// A Result is what a Load heard about one message.
type Result struct {
	Index   int
	To      []string
	Replies []Reply       // one for each of To; Code 0 if none was heard
	Err     error         // what ended the session before all replies were heard
	Took    time.Duration // from MAIL to the last reply
}

// Accepted tells whether the server has taken the message for every recipient.
func (r Result) Accepted() bool {
	return r.Err == nil && !slices.ContainsFunc(r.Replies, func(r Reply) bool { return !r.Positive() })
}

func (r Result) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "message %d", r.Index)
	for i, to := range r.To {
		if r.Replies != nil {
			fmt.Fprintf(&s, " to %s: %v", to, r.Replies[i])
		}
	}
	if r.Err != nil {
		fmt.Fprintf(&s, " (%v)", r.Err)
	}
	return s.String()
}

// Run sends the messages and returns the results in the order of their
// indexes. No message is tried twice. When ctx ends, the transactions under
// way are finished and no more are begun.
func (l Load) Run(ctx context.Context) []Result {
	var (
		next    atomic.Int64
		mu      sync.Mutex
		results []Result
		workers sync.WaitGroup
	)
	for range max(1, l.Connections) {
		workers.Go(func() {
			w := worker{load: &l}
			defer w.quit()
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if l.Count > 0 && i >= l.Count {
					return
				}
				r := w.try(ctx, l.First+i)
				mu.Lock()
				results = append(results, r)
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	slices.SortFunc(results, func(a, b Result) int { return a.Index - b.Index })
	return results
}

// A worker is one of the Load's connections, opened anew when it breaks.
type worker struct {
	load *Load
	c    *Client
	sent int // messages on this connection
}

// try sends one message.
func (w *worker) try(ctx context.Context, index int) Result {
	r := Result{Index: index, To: w.load.To(index)}
	if w.c == nil {
		if r.Err = w.dial(ctx); r.Err != nil {
			r.Replies = make([]Reply, len(r.To))
			return r
		}
	}
	octets := w.load.Messages.Message(index).Octets
	start := time.Now()
	r.Replies, r.Err = w.c.Send(w.load.From, r.To, octets)
	r.Took = time.Since(start)
	w.sent++
	closing := slices.ContainsFunc(r.Replies, func(r Reply) bool { return r.Code == 421 })
	switch {
	case r.Err != nil || closing:
		w.c.Close()
		w.c = nil
	case w.sent == w.load.PerConnection:
		w.quit()
	}
	return r
}

// dial opens a connection. A server that is not there is asked again until it
// is, for 20 seconds.
func (w *worker) dial(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, ready)
	defer cancel()
	for {
		c, err := Dial(ctx, w.load.Protocol, w.load.Network, w.load.Addr)
		if err == nil && w.load.TLS != nil {
			if err = c.StartTLS(w.load.TLS); err != nil {
				c.Close()
			}
		}
		if err == nil {
			c.Pipeline = w.load.Pipeline
			w.c, w.sent = c, 0
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (w *worker) quit() {
	if w.c != nil {
		w.c.Quit() // whether the server says goodbye changes nothing for the messages
		w.c = nil
	}
}
